//! What a plugin is.

use base::{Result, Status};
use resource::{Attributes, Call};
use schema::Operation;

/// Group, plural and subresource (`""` for none) of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub group: &'a str,
    pub plural: &'a str,
    pub subresource: &'a str,
    pub operation: Operation,
}

impl<'a> Target<'a> {
    pub fn of(call: &'a Call, operation: Operation) -> Self {
        Target {
            group: &call.kind.group,
            plural: &call.kind.plural,
            subresource: call.subresource.as_deref().unwrap_or(""),
            operation,
        }
    }
    /// `pods`, `pods/status`; only of the legacy group.
    pub fn is(&self, plural: &str, subresource: &str) -> bool {
        self.group.is_empty() && self.plural == plural && self.subresource == subresource
    }
}

/// One admission plugin. Both halves are optional; neither may wait.
pub trait Plugin: Send + Sync {
    /// True where the plugin has anything to say: asked on every write, before anything is prepared.
    fn applies(&self, call: &Call, target: Target<'_>) -> bool;
    /// Changes the object.
    fn mutate(&self, _attributes: &mut Attributes<'_>) -> Result<()> {
        Ok(())
    }
    /// Refuses the final object.
    fn validate(&self, _attributes: &mut Attributes<'_>) -> Result<()> {
        Ok(())
    }
}

/// 403 with upstream's wording: `pods "web" is forbidden: why`.
pub fn forbid(attributes: &Attributes<'_>, why: impl AsRef<str>) -> Status {
    let kind = &attributes.call.kind;
    let name = match attributes.name.as_str() {
        // Not named yet: upstream prints what it knows.
        "" => attributes.object.str_at(&["metadata", "generateName"]),
        name => name,
    };
    Status::forbidden(&kind.group, &kind.plural, name, why.as_ref())
}
