//! Field paths as messages print them, built on the stack while walking a tree.

use std::fmt;

/// A path that borrows its parent: extending it costs nothing until it is printed.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a>(Option<(&'a Path<'a>, Step<'a>)>);

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// `.name` (or `name` at the start)
    Key(&'a str),
    /// `[3]`
    Index(usize),
    /// `[name]`: the key of a map whose keys are data
    MapKey(&'a str),
}

impl<'a> Path<'a> {
    /// The empty path. Upstream prints it as `<nil>`.
    pub const fn root() -> Path<'static> {
        Path(None)
    }
    /// A field of an object.
    pub fn key(&'a self, name: &'a str) -> Path<'a> {
        Path(Some((self, Step::Key(name))))
    }
    /// An element of a list.
    pub fn index(&'a self, i: usize) -> Path<'a> {
        Path(Some((self, Step::Index(i))))
    }
    /// An entry of a map whose keys are data: `metadata.labels[app]`.
    pub fn map_key(&'a self, key: &'a str) -> Path<'a> {
        Path(Some((self, Step::MapKey(key))))
    }
    /// True for the empty path.
    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((parent, step)) = &self.0 else { return Ok(()) };
        parent.fmt(f)?;
        match step {
            Step::Key(name) if parent.is_root() => f.write_str(name),
            Step::Key(name) => write!(f, ".{name}"),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::MapKey(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_upstream() {
        let root = Path::root();
        let spec = root.key("spec");
        let list = spec.key("containers");
        let item = list.index(1);
        assert_eq!(item.key("image").to_string(), "spec.containers[1].image");
        assert_eq!(root.key("metadata").key("labels").map_key("app").to_string(), "metadata.labels[app]");
        assert_eq!(root.to_string(), "");
    }
}
