//! CEL as Kubernetes 1.36 uses it: validation rules of custom resources, admission policies, match conditions.
//!
//! An expression is parsed, type-checked against declared variables and planned once; a [`Program`] is kept and evaluated
//! on every request. Values are read from the object's own tree as they are asked for. Everything a client can see follows
//! the reference implementation: which expressions compile, the messages of those that do not, what an evaluation costs.
//!
//! ```
//! use k8s_cel::{Activation, Budget, Env, Type};
//! use value::value;
//!
//! let env = Env::new().variable("object", Type::Dyn);
//! let program = env.compile("object.spec.replicas <= 5 && has(object.metadata.labels)")?;
//! assert_eq!(program.output_type(), &Type::Bool);
//!
//! let object = value!({"metadata": {"labels": {}}, "spec": {"replicas": 3}});
//! let mut budget = Budget::default();
//! let result = program.eval(&Activation::new().bind("object", &object), &mut budget)?;
//! assert_eq!(result.as_bool(), Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a schema, `Decl::of_schema` gives the type of `self`, and [`ready`] has the environments as they are used:
//!
//! ```
//! use k8s_cel::{Activation, Budget, Decl, budget, ready};
//! use value::value;
//!
//! let crd = value!({"spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"}, "versions": [
//!     {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
//!         "spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}}]}});
//! let kind = schema::crd::kind_of(&crd).map_err(|e| format!("{e:?}"))?;
//! let decl = Decl::of_schema(&kind.versions[0].schema, true, "selfType").ok_or("no type")?;
//! let rule = ready::validation_rule(&decl, false).compile("self.spec.n > 0")?;
//! assert!(rule.estimate_cost(Some(&*decl)).max <= budget::ESTIMATE_PER_EXPRESSION);
//! let object = value!({"spec": {"n": 1}});
//! let activation = Activation::new().typed("self", &object, &decl);
//! assert_eq!(rule.eval(&activation, &mut Budget::default())?.as_bool(), Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants: no expression, however wrong, makes this crate panic; an evaluation ends (there are no loops but over
//! lists and maps, and every step counts against the [`Budget`]); no clock, no I/O, no global state but the table of
//! functions. What an authorizer says is asked of the host through [`Authorizer`].

pub mod budget;
mod check;
mod cost;
mod decl;
mod deep;
mod env;
mod eval;
mod library;
mod names;
mod plan;
mod program;
pub mod ready;
mod syntax;
mod text;
mod types;
mod val;

pub use budget::Budget;
pub use cost::Estimate;
pub use decl::{Decl, FieldDecl, ObjectType, Shape};
pub use env::Env;
pub use eval::Activation;
pub use library::{
    Instant, Opaque,
    authz::{Attributes, Authorizer, Decision, ResourceCheck, Subject, Verdict},
};
pub use names::{escape, is_identifier};
pub use program::Program;
pub use text::CompileError;
pub use types::{Type, library as library_types};
pub use val::{EvalError, List, Map, MapVals, Struct, Text, Val, to_tree};
