//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: in turn those that change objects, all at once those that
//! refuse them.

use super::{
    Dynamic,
    call::{Failure, Ready},
    hook::Hook,
    matching::old,
    notes,
    versions::{shown, taken},
};
use base::{Result, Status};
use futures::future::join_all;
use resource::Attributes;
use std::{collections::BTreeSet, sync::Arc};
use value::Value;

/// Which of the mutating ones are asked again. Source: upstream's `webhookReinvokeContext`.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Asked, and willing to be asked again.
    asked: BTreeSet<usize>,
    /// Something has changed since they were asked.
    due: BTreeSet<usize>,
    last: Option<Value>,
    /// Somebody has changed the object: there is a second round.
    pub changed: bool,
}

impl Rounds {
    fn something_changed(&mut self) {
        self.due.append(&mut self.asked);
    }
}

impl Dynamic {
    /// One round of the mutating ones.
    pub async fn call_mutating(
        &self,
        hooks: &[Arc<Hook>],
        a: &mut Attributes<'_>,
        rounds: &mut Rounds,
        again: bool,
    ) -> Result<()> {
        if again && rounds.last.as_ref().is_some_and(|last| *last != a.object) {
            rounds.something_changed();
        }
        for (i, hook) in hooks.iter().enumerate() {
            if again && !rounds.due.contains(&i) {
                continue;
            }
            let Some(version) = hook.wants(a, old(a), self.authorizer.get()).await? else { continue };
            let called = match Ready::new(hook, a, version, true).await {
                Ok(ready) => ready.send(self.outgoing.get().map(AsRef::as_ref), &self.to_mutating).await,
                Err(failure) => Err(failure),
            };
            let mut patch = None;
            let applied = match called {
                Ok(response) => {
                    a.warnings.extend(response.warnings);
                    patch = response.patch;
                    apply(hook, a, version, patch.as_deref()).await
                }
                Err(failure) => Err(failure),
            };
            let (noted, place) = (&a.options.notes, (again, i));
            notes::mutation(
                noted,
                hook,
                place,
                matches!(applied, Ok(true)),
                patch.filter(|_| applied.is_ok()).as_deref(),
            );
            if hook.fails_open && matches!(applied, Err(Failure::Unreached(_))) {
                notes::failed_open(noted, "mutation", hook, place);
            }
            match applied {
                Ok(false) => {}
                Ok(true) => {
                    rounds.changed = true;
                    rounds.something_changed();
                }
                Err(mut failure) => {
                    a.warnings.extend(failure.warnings());
                    failure.answer(hook).map_or(Ok(()), Err)?;
                }
            }
            if hook.again {
                rounds.asked.insert(i);
            }
        }
        rounds.last = hooks.iter().any(|hook| hook.again).then(|| a.object.clone());
        Ok(())
    }

    /// All validating ones; the first refusal in their order counts.
    pub async fn call_validating(&self, hooks: &[Arc<Hook>], a: &mut Attributes<'_>) -> Result<()> {
        let mut ready = Vec::new();
        for hook in hooks {
            if let Some(version) = hook.wants(a, old(a), self.authorizer.get()).await? {
                ready.push((hook, Ready::new(hook, a, version, false).await));
            }
        }
        let outgoing = self.outgoing.get().map(AsRef::as_ref);
        let calls = ready.into_iter().map(|(hook, ready)| async move {
            let answer = match ready {
                Ok(ready) => ready.send(outgoing, &self.to_validating).await,
                Err(failure) => Err(failure),
            };
            (hook, answer)
        });
        let mut refusal = None;
        for (i, (hook, answer)) in join_all(calls).await.into_iter().enumerate() {
            if hook.fails_open && matches!(answer, Err(Failure::Unreached(_))) {
                notes::failed_open(&a.options.notes, "validating", hook, (false, i));
            }
            match answer {
                Ok(response) => a.warnings.extend(response.warnings),
                Err(mut failure) => {
                    a.warnings.extend(failure.warnings());
                    refusal = refusal.or_else(|| failure.answer(hook));
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

/// Puts a webhook's patch into effect; whether that has changed anything.
async fn apply(hook: &Hook, a: &mut Attributes<'_>, version: usize, patch: Option<&[u8]>) -> Result<bool, Failure> {
    let Some(patch) = patch else { return Ok(false) };
    let internal = |status: Status| Failure::Refused(Status::internal(status.message()));
    let patch = merge::parse("application/json-patch+json", patch)
        .map_err(|e| Failure::Unreached(format!("received undecodable patch in webhook response: {}", e.message())))?;
    if patch.body.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    if a.object.is_null() {
        let text = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name.as_str()
        );
        return Err(Failure::Refused(Status::internal(text)));
    }
    let before = shown(a, &a.object, version).await.map_err(internal)?;
    let patched = merge::json_patch(&patch, before).map_err(|why| Failure::Refused(Status::internal(why)))?;
    let object = taken(a, patched, version).await.map_err(Failure::Refused)?;
    let changed = object != a.object;
    a.object = object;
    Ok(changed)
}
