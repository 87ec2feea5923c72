//! Structural schemas: one arena of nodes per source (all built-in types share one, each CRD version has its own), and
//! a cheap handle into it.

use std::{
    cmp::Ordering,
    sync::{Arc, OnceLock},
};
use value::{Map, Str, Value};

/// A handle to one node; cloning shares the arena.
#[derive(Debug, Clone)]
pub struct Schema {
    arena: Arc<Arena>,
    root: NodeId,
}

/// The nodes that schemas point into. Nodes refer to each other by id, so that recursive types need no special case.
#[derive(Debug, Default)]
pub struct Arena {
    pub nodes: Vec<Node>,
    /// The JSON of the `openAPIV3Schema` that the nodes were made from, for a custom resource: OpenAPI documents repeat
    /// it with its descriptions, which nodes do not hold.
    pub source: Option<Box<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub u32);

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// Anything (RawExtension, FieldsV1, `x-kubernetes-preserve-unknown-fields` without a type).
    #[default]
    Any,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// One node: what a value at this place looks like.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub ty: Type,
    /// The built-in type's name (`io.k8s.api.core.v1.Container`), empty for anonymous nodes.
    pub name: Str,
    pub format: Str,
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Values of a map whose keys are data.
    pub additional: Option<NodeId>,
    /// Elements of a list.
    pub items: Option<NodeId>,
    pub list_type: ListType,
    /// Keys of a list of type map.
    pub list_keys: Vec<Str>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    pub nullable: bool,
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are checked.
    pub embedded: bool,
    /// Checks of values, as CRDs and few built-in types have them.
    pub checks: Option<Box<Checks>>,
    /// Defaults that depend on sibling fields; runs on the object before its members are defaulted.
    pub computed: Option<fn(&mut Map)>,
    /// Something at or below this node has a default; set by [`Arena::finish`].
    pub has_defaults: bool,
    /// Indexes of the fields that have a number, in the order of [`Field::wire_path`]; set by [`Arena::finish`].
    pub wire_order: Box<[u16]>,
}

/// One named member of an object.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Str,
    pub node: NodeId,
    pub required: bool,
    pub default: Option<Value>,
    /// Strategic merge patch.
    pub patch: Patch,
    /// `patchMergeKey`, empty where there is none.
    pub merge_key: Str,
    /// The field's number in protobuf; 0 where unknown (custom resources). Where JSON inlines a message that protobuf
    /// keeps apart (the handler in Probe), the upper 16 bits hold the number of that message; where it stands in another
    /// such message, the highest 8 bits hold the number of that one.
    pub number: u32,
    pub empty: Empty,
}

/// What becomes of a field without content when an object is decoded, so that what is stored and answered is what
/// upstream's encoder writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Empty {
    /// As it came; null counts as absent.
    #[default]
    Keep,
    /// Zero values and empty lists and maps are dropped.
    Omit,
    /// An absent field is written with its zero value (`""`, `0`, `{}`).
    Zero,
    /// An absent field is written as null.
    Null,
}

/// `patchStrategy` of a list or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch {
    /// Nothing is said: lists are replaced, objects merge.
    #[default]
    Replace,
    /// `replace` on an object: it is replaced as a whole.
    Whole,
    Merge,
    /// `retainKeys`: keys that the patch does not name go.
    RetainKeys,
    /// `merge,retainKeys`
    MergeRetainKeys,
}

/// Value checks of a node (CRD validation).
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub enumeration: Vec<Value>,
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Pattern>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    /// `not`, `allOf`, `anyOf`, `oneOf`: schemas that only check values.
    pub not: Option<NodeId>,
    pub all_of: Vec<NodeId>,
    pub any_of: Vec<NodeId>,
    pub one_of: Vec<NodeId>,
}

impl Checks {
    /// True where nothing is checked.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.all_of, &self.any_of, &self.one_of].into_iter().all(Vec::is_empty);
        let numbers = self.minimum.is_none() && self.maximum.is_none() && self.multiple_of.is_none();
        let counts = [
            self.min_length,
            self.max_length,
            self.min_items,
            self.max_items,
            self.min_properties,
            self.max_properties,
        ];
        let counts = counts.into_iter().all(|c| c.is_none());
        let rest = self.enumeration.is_empty() && self.pattern.is_none() && !self.unique_items && self.not.is_none();
        lists && numbers && counts && rest
    }
}

/// A regular expression (RE2 syntax).
#[derive(Debug, Clone)]
pub struct Pattern {
    pub text: Str,
    /// Compiled on first use: a large definition has hundreds of patterns, of which few are ever asked.
    regex: Arc<OnceLock<Option<regex::Regex>>>,
}

impl Pattern {
    /// Refuses what is no regular expression.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::Regex::new(&go_regex(text))?;
        Ok(Pattern { text: text.into(), regex: Arc::default() })
    }
    pub fn is_match(&self, text: &str) -> bool {
        let regex = self.regex.get_or_init(|| regex::Regex::new(&go_regex(&self.text)).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// A pattern of RE2 as the `regex` crate takes it: classes and word boundaries are ASCII there, and Unicode here unless told
/// otherwise; `\C` is any byte.
pub fn go_regex(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('d')) => out.push_str("[0-9]"),
            ('\\', Some('w')) => out.push_str("[0-9A-Za-z_]"),
            ('\\', Some('s')) => out.push_str(r"[\t\n\f\r ]"),
            ('\\', Some('D')) => out.push_str("[^0-9]"),
            ('\\', Some('W')) => out.push_str("[^0-9A-Za-z_]"),
            ('\\', Some('S')) => out.push_str(r"[^\t\n\f\r ]"),
            ('\\', Some('C')) => out.push_str("(?s:.)"),
            ('\\', Some('b')) => out.push_str(r"(?-u:\b)"),
            ('\\', Some(other)) => out.extend(['\\', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

impl Arena {
    /// Sets what is derived from the nodes themselves; call once when all nodes stand.
    pub fn finish(&mut self) {
        let own = |n: &Node| n.computed.is_some() || n.fields.iter().any(|f| f.default.is_some());
        for node in &mut self.nodes {
            node.has_defaults = own(node);
            let mut order: Vec<u16> = (0..node.fields.len() as u16).collect();
            order.retain(|i| node.fields[usize::from(*i)].number != 0);
            order.sort_by_key(|i| node.fields[usize::from(*i)].wire_path());
            node.wire_order = order.into();
        }
        // Types refer to each other in cycles: spread until nothing changes.
        loop {
            let mut changed = false;
            for i in 0..self.nodes.len() {
                let node = &self.nodes[i];
                let mut below = node.fields.iter().map(|f| f.node).chain(node.additional).chain(node.items);
                if !node.has_defaults && below.any(|id| self[id].has_defaults) {
                    self.nodes[i].has_defaults = true;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }
    /// Adds a node.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId((self.nodes.len() - 1) as u32)
    }
}

impl std::ops::IndexMut<NodeId> for Arena {
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }
}

impl Schema {
    pub fn new(arena: Arc<Arena>, root: NodeId) -> Self {
        Schema { arena, root }
    }
    /// The node itself.
    pub fn node(&self) -> &Node {
        &self.arena.nodes[self.root.0 as usize]
    }
    /// The same arena at another node.
    pub fn goto(&self, node: NodeId) -> Schema {
        Schema { arena: self.arena.clone(), root: node }
    }
    /// The arena and the root, for walks that do not clone.
    pub fn parts(&self) -> (&Arena, NodeId) {
        (&self.arena, self.root)
    }
}

impl std::ops::Index<NodeId> for Arena {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Field {
    /// The numbers that lead to the field in protobuf, outermost first; zeros follow a short path.
    pub fn wire_path(&self) -> [u32; 3] {
        match [self.number >> 24, self.number >> 16 & 0xff, self.number & 0xffff] {
            [0, 0, field] => [field, 0, 0],
            [0, message, field] => [message, field, 0],
            path => path,
        }
    }
}

impl Node {
    /// A member by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| value::order(&f.name, name)).ok().map(|i| &self.fields[i])
    }
}

/// The fields of a node for names that come in ascending order, as those of a map do: a step each instead of a search.
pub(crate) struct InOrder<'a>(&'a [Field]);

impl<'a> InOrder<'a> {
    pub fn new(node: &'a Node) -> Self {
        InOrder(&node.fields)
    }
    pub fn field(&mut self, name: &str) -> Option<&'a Field> {
        while let Some((first, rest)) = self.0.split_first() {
            match value::order(&first.name, name) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => return Some(first),
                Ordering::Greater => return None,
            }
        }
        None
    }
}
