//! Nesting in files: the tree that is read, what is wrong with one, and a file's own tests.

use super::{Memory, load_from, plan_of};
use crate::{config::load_tests, driver::run_tests, plan::print};

pub(crate) const SHOP: &str = "version: 1
name: shop
topics:
  shop: { partitions: 1 }
  orders: { partitions: 3 }
pipelines:
  nest:
    from: shop
    steps:
      - nest:
          table: orders
          key: orderNumber
          many:
            lines:
              table: orderdetails
              key: [orderNumber, productCode]
              on: orderNumber
              sort: orderLineNumber
              one:
                product: { table: products, key: productCode, on: productCode, fields: [productName] }
          one:
            customer: { table: customers, key: customerNumber, on: customerNumber, fields: [customerName] }
          version: version
          moves_with: customerNumber
      - key: customerNumber
    to: orders
";

const TESTS: &str = "
tests:
  - name: an order is one document whichever of its rows changes
    steps:
      - give:
          topic: shop
          records:
            - { value: { productCode: S10, productName: Alfa, buyPrice: 48.80 }, headers: { courant-table: c.products, courant-operation: insert } }
            - { value: { customerNumber: 5, customerName: Ada, phone: '1' }, headers: { courant-table: c.customers, courant-operation: insert } }
            - { value: { orderNumber: 1, productCode: S10, orderLineNumber: 1 }, headers: { courant-table: c.orderdetails, courant-operation: insert, courant-transaction: t } }
            - { value: { orderNumber: 1, customerNumber: 5, comments: null }, headers: { courant-table: c.orders, courant-operation: insert, courant-transaction: t, courant-transaction-end: last } }
            - { value: { productCode: S10, productName: Alfa, buyPrice: 40.00 }, headers: { courant-table: c.products, courant-operation: update } }
            - { value: { productCode: S10, productName: Giulia, buyPrice: 40.00 }, headers: { courant-table: c.products, courant-operation: update } }
            - { value: { orderNumber: 1, customerNumber: 5, comments: null }, headers: { courant-table: c.orders, courant-operation: delete } }
      - expect:
          topic: orders
          records:
            - key: '5'
              headers: { courant-operation: insert, courant-table: c.orders }
              value:
                orderNumber: 1
                customerNumber: 5
                comments: null
                customer: { customerName: Ada }
                lines: [{ orderNumber: 1, productCode: S10, orderLineNumber: 1, product: { productName: Alfa } }]
                version: 7
            - key: '5'
              headers: { courant-operation: update }
              value:
                orderNumber: 1
                customerNumber: 5
                comments: null
                customer: { customerName: Ada }
                lines: [{ orderNumber: 1, productCode: S10, orderLineNumber: 1, product: { productName: Giulia } }]
                version: 11
            - key: '5'
              headers: { courant-operation: delete }
              value:
                orderNumber: 1
                customerNumber: 5
                comments: null
                customer: { customerName: Ada }
                lines: [{ orderNumber: 1, productCode: S10, orderLineNumber: 1, product: { productName: Giulia } }]
                version: 13
";

#[test]
fn a_file_with_a_nest_step_passes_its_own_tests() {
    let file = format!("{SHOP}tests: [orders.yaml]\n");
    let files = Memory::default().with("app/courant.yaml", &file).with("app/orders.yaml", TESTS);
    let plan = load_from(&files, None).unwrap_or_else(|problems| panic!("{problems}"));
    let tests = load_tests(&plan, &files).unwrap_or_else(|problems| panic!("{problems}"));
    let report = run_tests(&plan, &tests[0]);
    let failures: Vec<String> =
        report.cases.iter().filter_map(|case| Some(case.failure.as_ref()?.to_string())).collect();
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn a_plan_tells_the_whole_tree() {
    let printed = print(&plan_of(SHOP));
    let step = printed.lines().find(|line| line.trim().starts_with("nest orders")).unwrap();
    let expected = "nest orders by orderNumber { \
        customer: one on customerNumber of customers by customerNumber [customerName]; \
        lines: many on orderNumber sorted by orderLineNumber of orderdetails by orderNumber, \
        productCode { product: one on productCode of products by productCode [productName] } }, \
        version in version, moves with customerNumber";
    assert_eq!(step.trim(), expected);
}

/// What is said about a file, without its name.
fn problems_of(text: &str) -> String {
    let files = Memory::default().with("app/courant.yaml", text);
    match load_from(&files, None) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string().replace("app/courant.yaml:", ""),
    }
}

#[test]
fn a_topic_that_does_not_keep_the_order_of_commits_is_refused() {
    let found = problems_of(&SHOP.replace("shop: { partitions: 1 }", "shop: { partitions: 3 }"));
    let expected = "8:5: topic \"shop\" has 3 partitions, and pipeline \"nest\" nests its rows; \
                    give it one, which keeps the order of commits; what comes out of the \
                    pipeline can have more";
    assert_eq!(found, expected);
    let found = problems_of(&SHOP.replace("from: shop", "from: [shop, products]"));
    assert!(found.contains("pipeline \"nest\" nests the rows of 2 topics; "), "{found}");
}

#[test]
fn a_tree_that_fits_no_document_is_refused_at_its_key() {
    let cases = [
        (
            ("      - nest:", "      - key: k\n      - nest:"),
            "11:9: step \"nest\" stands after another step; \
             put it first: it needs every row of a transaction",
        ),
        (
            ("          version: version\n", ""),
            "23:11: \"moves_with\" stands without \"version\"; name a field for the version, and \
             in the targets, so that the order of the old document and the new one does not matter",
        ),
        (
            ("version: version", "version: lines"),
            "23:11: field \"lines\" is there twice; choose another name",
        ),
        (
            ("key: orderNumber\n", "key: orderNumber\n          fields: [orderNumber]\n"),
            "25:11: column \"customerNumber\" is not among the \"fields\"; \
             add it there: it says where the document was",
        ),
        (
            (
                "on: customerNumber, fields: [customerName]",
                "on: [], fields: [lines], flatten: true",
            ),
            "10:9: field \"lines\" is there twice; choose another name\n\
             22:64: \"on\" names no column; name one or a list of them",
        ),
        (
            ("fields: [productName]", "flatten: true"),
            "20:17: \"flatten\" stands without \"fields\"; say which columns to merge",
        ),
        (
            ("sort: orderLineNumber", "sorted: orderLineNumber"),
            "18:15: unknown key \"sorted\"; did you mean \"sort\"?",
        ),
    ];
    for ((from, to), expected) in cases {
        assert_eq!(problems_of(&SHOP.replace(from, to)), expected, "{to}");
    }
}
