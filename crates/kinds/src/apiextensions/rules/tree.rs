//! Compiled rules, as a tree that has a node where rules stand or stand below.

use super::paths;
use k8s_cel::{CompileError, Decl, Program, Shape, Type, ready};
use schema::{NodeId, Schema};
use std::{collections::BTreeMap, sync::Arc};
use value::{Str, Value};

pub const KEY: &str = "x-kubernetes-validations";

/// One place of a schema.
#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub decl: Arc<Decl>,
    /// `type`, as the schema writes it.
    pub ty: Str,
    pub rules: Vec<Rule>,
    pub items: Option<Box<Node>>,
    pub additional: Option<Box<Node>>,
    pub properties: BTreeMap<Str, Node>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub compiled: Compiled,
    /// The message, or the rule itself where there is none: how messages name the rule.
    pub name: String,
    /// `message`, or what is said instead.
    pub message: String,
    pub message_source: String,
    pub optional_old: bool,
    pub reason: Str,
    /// [`paths::normalized`]
    pub field_path: String,
}

/// What came of compiling a rule.
#[derive(Debug, Default)]
pub struct Compiled {
    /// `None` for an empty rule, and for one that does not compile.
    pub program: Option<Program>,
    pub error: Option<String>,
    /// The most that one evaluation can cost.
    pub cost: u64,
    pub message: Option<Program>,
    pub message_error: Option<String>,
    pub message_cost: u64,
    pub uses_old: bool,
}

/// Compiles one rule for values of a declared type.
pub fn compile(rule: &Value, decl: &Arc<Decl>) -> Compiled {
    let mut out = Compiled::default();
    let text = rule.str_at(&["rule"]);
    if text.trim().is_empty() {
        return out;
    }
    let env = ready::validation_rule(decl, rule.at(&["optionalOldSelf"]).as_bool() == Some(true));
    match env.compile(text) {
        Err(why) => out.error = Some(why.to_string()),
        Ok(program) if program.output_type() != &Type::Bool => {
            out.error = Some("cel expression must evaluate to a bool".into());
        }
        Ok(program) => {
            out.cost = program.estimate_cost(Some(decl)).max;
            out.uses_old = program.uses("oldSelf");
            out.program = Some(program);
        }
    }
    let message = rule.str_at(&["messageExpression"]);
    if out.program.is_none() || message.is_empty() {
        return out;
    }
    match env.compile(message) {
        Err(CompileError::Issues(why)) => {
            out.message_error = Some(format!("messageExpression compilation failed: {why}"))
        }
        Err(CompileError::Program(why)) => {
            out.message_error = Some(format!("messageExpression instantiation failed: {why}"));
        }
        Ok(program) if program.output_type() != &Type::String => {
            out.message_error = Some("messageExpression must evaluate to a string".into());
        }
        Ok(program) => {
            out.message_cost = program.estimate_cost(Some(decl)).max;
            out.message = Some(program);
        }
    }
    out
}

/// The rules of a resource's schema; `None` where there are none.
pub fn of(schema: &Schema) -> Option<Box<Node>> {
    let source = value::parse_lenient(schema.parts().0.source.as_deref()?).ok()?;
    let decl = Decl::of_schema(schema, true, "selfType")?;
    node(schema, &source, decl).map(Box::new)
}

fn node(schema: &Schema, source: &Value, decl: Arc<Decl>) -> Option<Node> {
    if !has_rules(source) {
        return None;
    }
    let here = schema.node();
    let rules = source.items_at(&[KEY]).iter().map(|rule| Rule::new(source, rule, &decl)).collect();
    let below = |id: Option<NodeId>, key: &str| {
        let decl = element(&decl)?;
        node(&schema.goto(id?), source.at(&[key]), decl).map(Box::new)
    };
    let properties = source.members_at(&["properties"]).filter_map(|(name, property)| {
        let below = schema.goto(here.field(name)?.node);
        let decl = member(&decl, name, &below)?;
        Some((Str::from(name), node(&below, property, decl)?))
    });
    Some(Node {
        id: schema.parts().1,
        ty: source.str_at(&["type"]).into(),
        rules,
        items: below(here.items, "items"),
        additional: below(here.additional, "additionalProperties"),
        properties: properties.collect(),
        decl: decl.clone(),
    })
}

/// True where a rule stands here or below.
pub fn has_rules(source: &Value) -> bool {
    if source.as_object().is_none() {
        return false;
    }
    !source.items_at(&[KEY]).is_empty()
        || ["items", "additionalProperties"].iter().any(|key| has_rules(source.at(&[key])))
        || source.members_at(&["properties"]).any(|(_, property)| has_rules(property))
}

/// The declaration of elements of a list, or of values of a map.
pub fn element(decl: &Decl) -> Option<Arc<Decl>> {
    match &decl.shape {
        Shape::List { element, .. } | Shape::Map { element } => Some(element.clone()),
        _ => None,
    }
}

/// The declaration of a property. One whose name is no identifier is invisible from above, but rules may stand in it.
pub fn member(decl: &Decl, name: &str, schema: &Schema) -> Option<Arc<Decl>> {
    let Shape::Object(object) = &decl.shape else { return None };
    match object.fields().iter().find(|field| field.name == name) {
        Some(field) => Some(field.decl.clone()),
        None if k8s_cel::escape(name).is_some() => None,
        None => Decl::of_schema(schema, schema.node().embedded, "selfType"),
    }
}

impl Rule {
    fn new(source: &Value, rule: &Value, decl: &Arc<Decl>) -> Rule {
        let text = |key: &str| rule.str_at(&[key]);
        let (given, body) = (text("message"), text("rule").trim());
        Rule {
            compiled: compile(rule, decl),
            name: if given.is_empty() { body.into() } else { given.trim().into() },
            message: if given.is_empty() { format!("failed rule: {body}") } else { given.trim().into() },
            message_source: text("messageExpression").into(),
            optional_old: rule.at(&["optionalOldSelf"]).as_bool() == Some(true),
            reason: text("reason").into(),
            field_path: paths::normalized(source, text("fieldPath")).unwrap_or_default(),
        }
    }
}
