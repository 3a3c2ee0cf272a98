//! Who may do what: access rules and the question that every handler asks.
//!
//! Rules only ever allow. Without rules everybody may do everything; with rules, what
//! none of them allows is denied. Operations are Kafka's, so that a handler asks what
//! Kafka's documentation says for its API; rules grant them in three words
//! ([`Grant`]). Invariant: being allowed anything on a resource includes describing it.

use std::collections::HashMap;

use serde::Deserialize;

use super::Principal;

/// What somebody wants to do; Kafka's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    DescribeConfigs,
    AlterConfigs,
    /// What brokers do among each other.
    ClusterAction,
    /// Produce without a transaction, but without repetitions.
    IdempotentWrite,
}

/// What it is wanted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    /// The log as a whole: its list of groups, its users, its settings.
    Cluster,
}

/// What a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Consume from topics, be a member of groups.
    Read,
    /// Produce to topics, use transactional ids.
    Write,
    /// Everything, and creating, deleting and changing it.
    Admin,
}

/// One access rule. Names are exact, or end in `*` and stand for all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// A user's name, or `*` for everybody.
    pub principal: String,
    pub allow: Vec<Grant>,
    #[serde(default)]
    pub topics: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub transactional_ids: Vec<String>,
    /// The log as a whole; `read` is enough to describe it. Default no.
    #[serde(default)]
    pub cluster: bool,
}

/// The rules, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    /// `None`: everybody may do everything.
    rules: Option<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    by_name: HashMap<String, Vec<Compiled>>,
    everybody: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    grants: Vec<Grant>,
    topics: Vec<Pattern>,
    groups: Vec<Pattern>,
    transactional_ids: Vec<Pattern>,
    cluster: bool,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Operation {
    /// The bit of Kafka's `authorized_operations`: the operation's code in `AclOperation`.
    pub(crate) const fn bit(self) -> i32 {
        1 << match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Create => 5,
            Self::Delete => 6,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::ClusterAction => 9,
            Self::DescribeConfigs => 10,
            Self::AlterConfigs => 11,
            Self::IdempotentWrite => 12,
        }
    }
}

impl Resource<'_> {
    /// The operations that make sense on it, for `authorized_operations`.
    pub(crate) const fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
            IdempotentWrite, Read, Write,
        };
        match self {
            Self::Topic(_) => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            Self::Group(_) => &[Read, Delete, Describe],
            Self::TransactionalId(_) => &[Write, Describe],
            Self::Cluster => &[
                Create,
                Alter,
                Describe,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
            ],
        }
    }
}

impl Grant {
    const fn includes(self, operation: Operation) -> bool {
        match self {
            Self::Read => matches!(operation, Operation::Read | Operation::Describe),
            Self::Write => matches!(
                operation,
                Operation::Write | Operation::IdempotentWrite | Operation::Describe
            ),
            Self::Admin => true,
        }
    }
}

impl AclRule {
    /// What is wrong with the rule, in the words of an error.
    pub(super) fn problems(&self) -> Vec<String> {
        let of = format!("access rule of principal {:?}", self.principal);
        let mut problems = Vec::new();
        if self.principal.is_empty() {
            problems.push("access rule without a principal; name a user, or \"*\" for all".into());
        }
        if self.allow.is_empty() {
            problems.push(format!("{of} allows nothing; give it read, write or admin"));
        }
        let names = || self.topics.iter().chain(&self.groups).chain(&self.transactional_ids);
        if names().next().is_none() && !self.cluster {
            problems.push(format!(
                "{of} names nothing; give it topics, groups, transactional_ids or cluster: true"
            ));
        }
        for name in names() {
            let inside = name.strip_suffix('*').unwrap_or(name);
            if inside.contains('*') {
                problems.push(format!("{of} has pattern {name:?}; \"*\" may only be its end"));
            } else if name.is_empty() {
                problems.push(format!("{of} has an empty name; use \"*\" for all"));
            }
        }
        problems
    }
}

impl Authorizer {
    pub(crate) fn new(rules: Option<&[AclRule]>) -> Self {
        Self {
            rules: rules.map(|rules| {
                let mut compiled = Rules::default();
                for rule in rules {
                    let of = match rule.principal.as_str() {
                        "*" => &mut compiled.everybody,
                        name => compiled.by_name.entry(name.to_owned()).or_default(),
                    };
                    of.push(Compiled::new(rule));
                }
                compiled
            }),
        }
    }

    /// Whether a principal may do this.
    pub(crate) fn allows(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        self.any(principal, |rule| {
            rule.grants.iter().any(|grant| grant.includes(operation)) && rule.covers(resource)
        })
    }

    /// Whether there is any topic that a principal may write to; Kafka asks this of
    /// idempotent producers, which name no topic yet.
    pub(crate) fn may_write_somewhere(&self, principal: &Principal) -> bool {
        self.any(principal, |rule| {
            rule.grants.iter().any(|grant| grant.includes(Operation::Write))
                && !rule.topics.is_empty()
        })
    }

    /// What a principal may do to a resource, as Kafka's bit field.
    pub(crate) fn authorized_operations(
        &self,
        principal: &Principal,
        resource: Resource<'_>,
    ) -> i32 {
        let may = |operation: &&Operation| self.allows(principal, **operation, resource);
        resource.operations().iter().filter(may).fold(0, |bits, one| bits | one.bit())
    }

    fn any(&self, principal: &Principal, matches: impl Fn(&Compiled) -> bool) -> bool {
        let Some(rules) = &self.rules else { return true };
        let own = rules.by_name.get(principal.name()).into_iter().flatten();
        own.chain(&rules.everybody).any(matches)
    }
}

impl Compiled {
    fn new(rule: &AclRule) -> Self {
        let patterns = |names: &[String]| names.iter().map(|name| Pattern::new(name)).collect();
        Self {
            grants: rule.allow.clone(),
            topics: patterns(&rule.topics),
            groups: patterns(&rule.groups),
            transactional_ids: patterns(&rule.transactional_ids),
            cluster: rule.cluster,
        }
    }

    fn covers(&self, resource: Resource<'_>) -> bool {
        let (patterns, name) = match resource {
            Resource::Topic(name) => (&self.topics, name),
            Resource::Group(name) => (&self.groups, name),
            Resource::TransactionalId(name) => (&self.transactional_ids, name),
            Resource::Cluster => return self.cluster,
        };
        patterns.iter().any(|pattern| pattern.matches(name))
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(principal: &str, allow: &[Grant], topics: &[&str]) -> AclRule {
        AclRule {
            principal: principal.to_owned(),
            allow: allow.to_vec(),
            topics: topics.iter().map(ToString::to_string).collect(),
            groups: vec!["team-*".to_owned()],
            transactional_ids: Vec::new(),
            cluster: false,
        }
    }

    #[test]
    fn without_rules_everybody_may_do_everything() {
        let open = Authorizer::new(None);
        assert!(open.allows(&Principal::anonymous(), Operation::Alter, Resource::Cluster));
        assert!(open.may_write_somewhere(&Principal::anonymous()));
    }

    #[test]
    fn with_rules_what_none_of_them_allows_is_denied() {
        let rules = [rule("alice", &[Grant::Read], &["orders"])];
        let acl = Authorizer::new(Some(&rules));
        let (alice, bob) = (Principal::user("alice"), Principal::user("bob"));
        assert!(acl.allows(&alice, Operation::Read, Resource::Topic("orders")));
        assert!(acl.allows(&alice, Operation::Describe, Resource::Topic("orders")));
        assert!(acl.allows(&alice, Operation::Read, Resource::Group("team-1")));
        assert!(!acl.allows(&alice, Operation::Write, Resource::Topic("orders")));
        assert!(!acl.allows(&alice, Operation::Read, Resource::Topic("orders2")));
        assert!(!acl.allows(&alice, Operation::Describe, Resource::Cluster));
        assert!(!acl.allows(&bob, Operation::Describe, Resource::Topic("orders")));
        assert!(!acl.may_write_somewhere(&alice));
        assert!(!Authorizer::new(Some(&[])).allows(
            &alice,
            Operation::Describe,
            Resource::Topic("orders")
        ));
    }

    #[test]
    fn a_pattern_stands_for_all_names_that_begin_so() {
        let rules = [rule("*", &[Grant::Write], &["public-*"])];
        let acl = Authorizer::new(Some(&rules));
        let anybody = Principal::anonymous();
        assert!(acl.allows(&anybody, Operation::Write, Resource::Topic("public-1")));
        assert!(acl.allows(&anybody, Operation::Write, Resource::Topic("public-")));
        assert!(!acl.allows(&anybody, Operation::Write, Resource::Topic("public")));
        assert!(!acl.allows(&anybody, Operation::Read, Resource::Topic("public-1")));
        assert!(acl.may_write_somewhere(&anybody));
    }

    #[test]
    fn an_administrator_may_do_everything_that_the_rule_names() {
        let rules = [rule("root", &[Grant::Admin], &["*"])];
        let acl = Authorizer::new(Some(&rules));
        let root = Principal::user("root");
        for operation in Resource::Topic("").operations() {
            assert!(acl.allows(&root, *operation, Resource::Topic("anything")), "{operation:?}");
        }
        assert!(!acl.allows(&root, Operation::Alter, Resource::Cluster));
    }

    #[test]
    fn authorized_operations_are_kafkas_bits() {
        let rules = [rule("alice", &[Grant::Read], &["orders"])];
        let acl = Authorizer::new(Some(&rules));
        let alice = Principal::user("alice");
        let bits = acl.authorized_operations(&alice, Resource::Topic("orders"));
        assert_eq!(bits, 1 << 3 | 1 << 8);
        assert_eq!(acl.authorized_operations(&alice, Resource::Topic("other")), 0);
        let open = Authorizer::new(None);
        // What a Kafka broker without an authorizer answers for a topic and a group.
        assert_eq!(open.authorized_operations(&alice, Resource::Topic("x")), 0b1101_1111_1000);
        assert_eq!(open.authorized_operations(&alice, Resource::Group("x")), 0b1_0100_1000);
    }

    #[test]
    fn a_rule_tells_all_that_is_wrong_with_it() {
        let wrong = AclRule {
            principal: String::new(),
            allow: Vec::new(),
            topics: vec!["a*b".to_owned(), String::new()],
            groups: Vec::new(),
            transactional_ids: Vec::new(),
            cluster: false,
        };
        assert_eq!(wrong.problems().len(), 4, "{:?}", wrong.problems());
        assert!(rule("alice", &[Grant::Read], &["*"]).problems().is_empty());
    }
}
