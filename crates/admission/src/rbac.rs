//! RBAC escalation: nobody grants what they do not hold (see [`auth::escalation`]).

use crate::{Plugin, Target, plugin::forbid};
use auth::Authorizer;
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use std::sync::{Arc, OnceLock};

pub struct Escalation(pub Arc<OnceLock<Authorizer>>);

impl Plugin for Escalation {
    fn applies(&self, call: &Call, target: Target<'_>) -> bool {
        target.group == "rbac.authorization.k8s.io"
            && matches!(target.operation, Operation::Create | Operation::Update)
            && !call.user.in_group("system:masters")
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let Some(authorizer) = self.0.get() else { return Err(forbid(a, "not yet ready to handle request")) };
        let kind = &a.call.kind;
        auth::escalation::check(authorizer, &a.call.user, a.operation, (&kind.group, &kind.plural), &a.object, a.old)
    }
}
