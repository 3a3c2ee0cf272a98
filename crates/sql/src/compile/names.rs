//! Names as they stand in the parsed text: of results, of columns a star leaves out,
//! of fields after an index.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    AccessExpr, ExcludeSelectItem, Expr as Ast, Ident, ObjectName, Subscript, Value, VisitMut,
    WildcardAdditionalOptions, visit_expressions_mut,
};

/// The name of a result without AS: the last name of a path, else the text itself.
pub(crate) fn name_of(ast: &Ast) -> String {
    match ast {
        Ast::Identifier(ident) => ident.value.clone(),
        Ast::CompoundIdentifier(idents) => {
            idents.last().map(|i| i.value.clone()).unwrap_or_default()
        }
        Ast::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Ast::Identifier(ident))) => ident.value.clone(),
            Some(AccessExpr::Subscript(Subscript::Index { index: Ast::Value(value) })) => {
                match &value.value {
                    Value::SingleQuotedString(name) => name.clone(),
                    _ => ast.to_string(),
                }
            }
            _ => ast.to_string(),
        },
        Ast::Nested(inner) => name_of(inner),
        _ => ast.to_string(),
    }
}

pub(super) fn excluded_names(options: &WildcardAdditionalOptions) -> Vec<String> {
    let mut names: Vec<String> = match &options.opt_exclude {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![text_of(name)],
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().map(text_of).collect(),
    };
    if let Some(except) = &options.opt_except {
        let idents = std::iter::once(&except.first_element).chain(&except.additional_elements);
        names.extend(idents.map(|ident: &Ident| ident.value.clone()));
    }
    names
}

pub(crate) fn text_of(name: &ObjectName) -> String {
    let parts = name
        .0
        .iter()
        .map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone()));
    parts.collect::<Vec<_>>().join(".")
}

/// Makes `lines[1].sku` into `lines[1].'sku'`: after an index, the planner takes the names
/// of fields only as text.
pub(crate) fn quote_late_fields<V: VisitMut>(ast: &mut V) {
    let _: ControlFlow<()> = visit_expressions_mut(ast, |node| {
        if let Ast::CompoundFieldAccess { root, access_chain } = node {
            let is_path = matches!(**root, Ast::Identifier(_));
            let names = access_chain
                .iter()
                .take_while(|access| {
                    is_path && matches!(access, AccessExpr::Dot(Ast::Identifier(_)))
                })
                .count();
            for access in &mut access_chain[names..] {
                if let AccessExpr::Dot(Ast::Identifier(name)) = access {
                    let value = Value::SingleQuotedString(name.value.clone());
                    *access = AccessExpr::Dot(Ast::Value(value.with_span(name.span)));
                }
            }
        }
        ControlFlow::Continue(())
    });
}
