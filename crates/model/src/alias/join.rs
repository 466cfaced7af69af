//! Attributes of today that were two: a qualifier and a part, each under a name of its own.
//!
//! What such an attribute says is spelled in more than one way. A span of today sends
//! `rpc.method = "shop.Cart/Add"`, one of before `rpc.service = "shop.Cart"` and `rpc.method = "Add"`, and
//! a query may use either form. So it is with a value of another name (see [`super::ValueMap`]): an equality and a
//! regular expression match if they match any spelling, `!=` and `!~` if they match none. Everything else
//! (order, arithmetic, groups, what is shown) goes by what was sent.
//!
//! The qualifier alone is read off the whole by [`Derived::Qualifier`].

use super::Derived;
use crate::column::AttributeScope;

/// An attribute that was two.
#[derive(Debug, PartialEq, Eq)]
pub struct Join {
    pub scope: AttributeScope,
    /// The name of both together.
    pub whole: &'static str,
    /// What the part was called: perhaps what the whole is called today.
    pub part: &'static str,
    pub qualifier: &'static str,
    pub separators: &'static Separators,
}

/// What may stand between a qualifier and a part; which of them, the language of the service says.
#[derive(Debug, PartialEq, Eq)]
pub struct Separators(pub &'static [&'static str]);

/// Source: the examples that the conventions give for `rpc.method`.
pub(super) static RPC_SEPARATORS: Separators = Separators(&["/"]);

/// Source: the examples that the conventions give for `code.function.name`: most languages, C++, PHP and Rust,
/// and Erlang.
pub(super) static CODE_SEPARATORS: Separators = Separators(&[".", "::", ":"]);

/// Every attribute that was two.
pub static JOINS: &[Join] = &[
    Join {
        scope: AttributeScope::Span,
        whole: "rpc.method",
        part: "rpc.method",
        qualifier: "rpc.service",
        separators: &RPC_SEPARATORS,
    },
    Join {
        scope: AttributeScope::Span,
        whole: "code.function.name",
        part: "code.function",
        qualifier: "code.namespace",
        separators: &CODE_SEPARATORS,
    },
];

/// The join whose value a name asks for.
pub fn join(scope: AttributeScope, key: &str) -> Option<&'static Join> {
    let is_asked = |join: &&Join| join.scope == scope && (join.whole == key || join.part == key);
    JOINS.iter().find(is_asked)
}

// === impl Join ===

impl Join {
    /// How the part is made of the whole.
    pub fn part_of_whole(&self) -> Derived {
        Derived::Part(self.separators)
    }
}

// === impl Separators ===

impl Separators {
    /// A whole in its qualifier and its part: what stands before and behind the last separator. Neither is empty.
    pub fn split<'a>(&self, whole: &'a str) -> Option<(&'a str, &'a str)> {
        let splits = self.splits(whole);
        // Of two that end in one place (`:` and `::`) the longer one separates.
        splits.min_by_key(|(qualifier, _)| qualifier.len())
    }

    /// Every qualifier and part of which the whole can have been joined; a part has no separator in it.
    pub fn splits<'a>(&self, whole: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let at_last = self
            .0
            .iter()
            .filter_map(|separator| whole.rsplit_once(separator));
        at_last.filter(|(qualifier, part)| self.may_join(qualifier, part))
    }

    /// Every whole of a qualifier and a part.
    pub fn wholes(&self, qualifier: &str, part: &str) -> impl Iterator<Item = String> {
        let separators: &[&str] = match self.may_join(qualifier, part) {
            true => self.0,
            false => &[],
        };
        separators
            .iter()
            .map(move |separator| [qualifier, separator, part].concat())
    }

    fn may_join(&self, qualifier: &str, part: &str) -> bool {
        let is_whole = |text: &str| self.0.iter().any(|separator| text.contains(separator));
        !qualifier.is_empty() && !part.is_empty() && !is_whole(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wholes_are_taken_apart_at_their_last_separator() {
        let rpc = |whole| RPC_SEPARATORS.split(whole);
        assert_eq!(rpc("shop.Cart/Add"), Some(("shop.Cart", "Add")));
        assert_eq!(rpc("a/b/c"), Some(("a/b", "c")));
        for whole in ["Add", "", "/", "/Add", "shop.Cart/"] {
            assert_eq!(rpc(whole), None, "{whole}");
        }
        let code = |whole| CODE_SEPARATORS.split(whole);
        assert_eq!(
            code("com.example.Cart.add"),
            Some(("com.example.Cart", "add"))
        );
        assert_eq!(code("shop::cart::add"), Some(("shop::cart", "add")));
        assert_eq!(
            code("opentelemetry_ctx:new"),
            Some(("opentelemetry_ctx", "new"))
        );
        assert_eq!(code("crate::a.b"), Some(("crate::a", "b")));
    }

    #[test]
    fn a_split_is_one_of_what_is_joined_to_the_same() {
        let texts = ["a", "a.b", "a::b", "a:", ":", "", "a.b::c:d", "a/b", "é.b"];
        for separators in [&RPC_SEPARATORS, &CODE_SEPARATORS] {
            for (qualifier, part) in texts.iter().flat_map(|a| texts.map(|b| (*a, b))) {
                for whole in separators.wholes(qualifier, part) {
                    let mut splits = separators.splits(&whole);
                    assert!(
                        splits.any(|split| split == (qualifier, part)),
                        "{qualifier} {part}"
                    );
                }
            }
            for whole in texts {
                for (qualifier, part) in separators.splits(whole) {
                    let mut wholes = separators.wholes(qualifier, part);
                    assert!(wholes.any(|joined| joined == whole), "{whole}");
                }
            }
        }
    }

    #[test]
    fn either_name_asks_for_what_was_joined() {
        let of = |key| join(AttributeScope::Span, key).map(|join| join.qualifier);
        assert_eq!(of("rpc.method"), Some("rpc.service"));
        assert_eq!(of("code.function"), of("code.function.name"));
        assert_eq!(of("rpc.service"), None);
        assert_eq!(join(AttributeScope::Resource, "rpc.method"), None);
    }
}
