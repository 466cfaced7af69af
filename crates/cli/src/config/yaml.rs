//! A YAML file as a tree in which every node knows its line.
//!
//! It is not typed: which keys there are stands in `keys` and in the table of Tempo's keys, and both
//! want to name the line of what they refuse.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A configuration file has a few kilobytes; more is a mistake of the caller.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// A node and the line where it stands, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(Key, Node)>),
}

/// The key of a map entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) line: u64,
    pub(crate) name: String,
}

/// Why a text is no YAML, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) line: Option<u64>,
    pub(crate) message: String,
}

/// Parses a file. An empty one is an empty map.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Error::from(format!(
            "the file has {} bytes, at most {FILE_BYTES_MAX} are read",
            text.len()
        )));
    }
    let parsed: Option<Node> = serde_saphyr::from_str(text).map_err(|error| Error {
        line: error.location().map(|location| location.line()),
        message: explain(&error),
    })?;
    Ok(parsed
        .filter(|node| node.value != Value::Null)
        .unwrap_or_else(Node::empty))
}

/// What is wrong, without the place, and what to do.
fn explain(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("{key} is written twice in one section; put the two together");
    }
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let text = text.split(" at line ").next().unwrap_or(&text);
    format!("this is no YAML: {text}; look at this line and the one before it")
}

// === impl Error ===

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self {
            line: None,
            message,
        }
    }
}

// === impl Node ===

impl Node {
    /// The content of an empty file.
    pub(crate) fn empty() -> Self {
        Self {
            line: 1,
            value: Value::Map(Vec::new()),
        }
    }

    /// A value that was written on the command line, typed as YAML would type it.
    pub(crate) fn from_argument(text: &str) -> Self {
        let value = match parse(text) {
            Ok(node) if matches!(node.value, Value::List(_) | Value::Map(_)) => {
                Value::Text(text.to_owned())
            }
            Ok(node) => node.value,
            Err(_) => Value::Text(text.to_owned()),
        };
        Self { line: 0, value }
    }

    /// The node under a key of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find_map(|(key, node)| (key.name == name).then_some(node)),
            _ => None,
        }
    }
}

// === impl Value ===

impl Value {
    /// As a file would have it, in one line: a text without quotes, a list in brackets.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.value.plain()).collect();
                format!("[{}]", items.join(", "))
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Map(entries) => write!(f, "a map of {}", entries.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Takes whatever the file holds.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // What does not fit is refused by its key, as text.
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            let key = Key {
                line: key.referenced.line(),
                name: key.value,
            };
            map.push((key, node));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_types() {
        let root = parse("a: 1\nb:\n  c: 168h  # a week\n  d: [x, 2.5, true]\n  e:\n").unwrap();
        let b = root.get("b").unwrap();
        assert_eq!(root.get("a").unwrap().value, Value::Int(1));
        let c = b.get("c").unwrap();
        assert_eq!((c.line, &c.value), (3, &Value::Text("168h".to_owned())));
        assert_eq!(b.get("e").unwrap().value, Value::Null);
        let Value::List(items) = &b.get("d").unwrap().value else {
            panic!("no list")
        };
        assert_eq!(items[1].value, Value::Float(2.5));
        let Value::Map(entries) = &b.value else {
            panic!("no map")
        };
        assert_eq!(entries[1].0.line, 4);
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(
                parse(text).unwrap().value,
                Value::Map(Vec::new()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_yaml_names_its_line() {
        let error = parse("a: 1\nb: [1,\nc: }\n").unwrap_err();
        assert!(error.line.is_some_and(|line| line >= 2), "{error:?}");
    }
}
