//! `x-kubernetes-validations`: what a definition demands of its objects, in CEL.
//!
//! [`check`] judges the rules when the definition is written: do they compile, could they cost too much. [`Rules`] holds
//! them compiled, as a tree beside the schema, and runs them over objects. They are compiled again when the first object
//! comes and not kept from the check: a server that starts with hundreds of definitions compiles none of them before it
//! is needed. Source: KEP-2876, KEP-4008 (ratcheting) and `apiextensions/validation`.

mod check;
mod paths;
mod run;
mod tree;

pub use check::check;
use run::{Mode, Run};
use schema::Schema;
use std::sync::OnceLock;
use tree::Node;
use value::Value;

use base::{FieldErrors, status::Problem};

/// The rules of one version of a kind.
#[derive(Debug)]
pub struct Rules {
    schema: Schema,
    tree: OnceLock<Option<Box<Node>>>,
}

impl Rules {
    /// `None` where the schema has no rules.
    pub fn of(schema: &Schema) -> Option<Rules> {
        let source = schema.parts().0.source.as_deref()?;
        let named = source.windows(tree::KEY.len()).any(|part| part == tree::KEY.as_bytes());
        named.then(|| Rules { schema: schema.clone(), tree: OnceLock::new() })
    }

    /// Adds what is wrong with an object by these rules. Objects that are wrong otherwise are not looked at: rules may
    /// rely on what the schema says.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let blocking = |problem| {
            use Problem::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(problem, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        let Some(tree) = self.tree() else { return };
        if errors.0.iter().any(|error| blocking(error.problem)) {
            let text = "some validation rules were not checked because the object was invalid; correct the existing \
                        errors to complete validation";
            errors.add(Problem::Invalid, "<nil>", Some("null".into()), text);
            return;
        }
        Run::new(self.schema.parts().0, Mode::Errors(errors)).object(tree, object, old);
    }

    /// What is wrong with parts of an object that an update left as they were: said, but not refused.
    pub fn tolerated(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(tree) = self.tree() {
            Run::new(self.schema.parts().0, Mode::Tolerated(&mut warnings)).object(tree, object, Some(old));
        }
        warnings
    }

    fn tree(&self) -> Option<&Node> {
        self.tree.get_or_init(|| tree::of(&self.schema)).as_deref()
    }
}

#[cfg(test)]
mod tests;
