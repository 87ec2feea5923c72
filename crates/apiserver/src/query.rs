//! Query strings, without a copy where nothing is encoded.

pub use base::escape::{decode, encode};
use std::borrow::Cow;

/// The pairs of a query string, in order.
#[derive(Debug, Clone, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn parse(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }
    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_ref())
    }
    /// All values of a key.
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_ref())
    }
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }
    /// A flag as upstream reads it: present and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries() {
        let query = Query::parse(Some("a=1&b=x%2Cy+z&a=2&c&watch=0"));
        assert_eq!(query.get("b"), Some("x,y z"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((query.flag("c"), query.flag("watch"), query.flag("none")), (Some(true), Some(false), None));
    }
}
