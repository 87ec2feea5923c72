//! `delete` and `deletecollection`: grace, finalizers, propagation, preconditions.

use crate::{
    Answer, Call, Engine, ListQuery, ListReply, Reply, WriteOptions, convert,
    engine::{Change, Committed, Half, RETRIES},
    meta,
    notes::Warnings,
};
use base::{Reason, Result, Revision, Status, time};
use schema::{Kind, Operation};
use std::sync::Arc;
use value::{Object, Value, value};

/// Finalizers that stand for a propagation policy.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Engine {
    /// Deletes an object; `asked` is a DeleteOptions object.
    pub async fn delete(&self, call: &Call, asked: Option<Value>, options: &WriteOptions) -> Result<Reply> {
        let asked = asked.unwrap_or_else(Value::object);
        let options = &WriteOptions { deletion: asked.clone(), ..options.clone() };
        self.catch_up().await?;
        for _ in 0..RETRIES {
            let current = self.current(call)?.ok_or_else(|| call.not_found())?;
            preconditions(call, &asked, &current)?;
            let mut old = self.working_value(call, &current).await?;
            old.remove(&["metadata", "resourceVersion"]);
            let mut warnings = Warnings::of(&options.notes);
            let change = Change { object: Value::Null, old: Some(&old), options, warnings: &mut warnings };
            self.admit(Half::Mutating, call, Operation::Delete, change).await?;
            let change = Change { object: Value::Null, old: Some(&old), options, warnings: &mut warnings };
            self.admit(Half::Validating, call, Operation::Delete, change).await?;
            let cx = self.context(call, Operation::Delete);
            let mut next = old.clone();
            let now = cx.now;
            let goes = begin(&call.kind, &mut next, &asked, now);
            if !goes && old.at(&["metadata", "deletionTimestamp"]).is_null() {
                call.kind.hooks.begin_deletion(&cx, &mut next);
            }
            if options.dry_run || (!goes && next == old) {
                let answer = match goes {
                    true => gone(call, &current, next, current.revision, now)?,
                    false => {
                        let shown = with_revision(next, &current);
                        Answer::Made(convert::for_reply(call, shown)?)
                    }
                };
                return Ok(Reply { warnings: warnings.take(), ..Reply::ok(answer) });
            }
            let (key, old) = (call.key(), Some((&*current, &old)));
            let last = next.clone();
            let committed = match goes {
                true => self.commit_removal(call, &key, old).await?.map(Err),
                false => self.commit(call, &key, old, next).await?.map(Ok),
            };
            if let Committed::Done(stored) = committed {
                let answer = match stored {
                    Err(revision) => gone(call, &current, last, revision, now)?,
                    Ok(stored) => Answer::Stored(self.in_version(call, &stored).await?),
                };
                return Ok(Reply { warnings: warnings.take(), ..Reply::ok(answer) });
            }
        }
        Err(call.stale())
    }

    /// Deletes every object that a list with the same query would show; answers with them.
    pub async fn delete_collection(
        &self,
        call: &Call,
        query: &ListQuery,
        asked: Option<Value>,
        options: &WriteOptions,
    ) -> Result<ListReply> {
        let reply = self.list(call, query).await?;
        for object in &reply.items {
            let mut one = call.clone();
            one.namespace = object.key.namespace.clone();
            one.name = object.key.name.clone();
            match self.delete(&one, asked.clone(), options).await {
                Ok(_) => {}
                Err(gone) if gone.is(Reason::NotFound) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(reply)
    }
}

/// Changes an object as its deletion asks; true where nothing holds it and it can go at once.
fn begin(kind: &Kind, object: &mut Value, asked: &Value, now: time::Timestamp) -> bool {
    propagation(kind, object, asked);
    let requested = asked.at(&["gracePeriodSeconds"]).as_i64();
    let deleting = !object.at(&["metadata", "deletionTimestamp"]).is_null();
    let grace = if kind.policy.graceful { kind.hooks.grace(object, requested) } else { 0 };
    let held = !object.items_at(&["metadata", "finalizers"]).is_empty() || !kind.hooks.may_be_removed(object);
    if grace == 0 && !held {
        return true;
    }
    let before = object.at(&["metadata", "deletionGracePeriodSeconds"]).as_i64().unwrap_or(0);
    // A second request may shorten the grace period, never lengthen it.
    if deleting && grace >= before {
        return false;
    }
    let at = now.checked_add(time::SignedDuration::from_secs(grace)).unwrap_or(now);
    object.set(&["metadata", "deletionTimestamp"], time::seconds(at));
    // What the kind itself holds back ends when that is done, not after some time.
    if kind.hooks.may_be_removed(object) {
        object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
    }
    if object.at(&["metadata", "generation"]).as_i64().is_some() && !deleting {
        meta::bump_generation(object);
    }
    false
}

/// Sets or removes the finalizers that stand for a propagation policy. Without a word from the client they stay, and
/// where there are none the kind's own policy counts.
fn propagation(kind: &Kind, object: &mut Value, asked: &Value) {
    let finalizers = object.items_at(&["metadata", "finalizers"]);
    let said = finalizers.iter().any(|f| *f == *FOREGROUND || *f == *ORPHAN);
    let policy = match (asked.str_at(&["propagationPolicy"]), asked.at(&["orphanDependents"]).as_bool()) {
        ("", Some(true)) => "Orphan",
        ("", Some(false)) => "Background",
        ("", None) if kind.policy.orphan_by_default && !said => "Orphan",
        (policy, _) => policy,
    };
    let wanted = match policy {
        "Orphan" => Some(ORPHAN),
        "Foreground" => Some(FOREGROUND),
        "Background" => None,
        _ => return,
    };
    let mut finalizers: Vec<Value> = object.items_at(&["metadata", "finalizers"]).to_vec();
    finalizers.retain(|f| *f != *FOREGROUND && *f != *ORPHAN);
    finalizers.extend(wanted.map(Value::from));
    if finalizers.is_empty() {
        object.remove(&["metadata", "finalizers"]);
    } else {
        object.set(&["metadata", "finalizers"], finalizers);
    }
}

fn preconditions(call: &Call, asked: &Value, current: &Object) -> Result<()> {
    // Said of the kind, not of the resource, as upstream does here alone.
    let fail = |what: &str, asked: &str, is: &str, then: &str| {
        let why =
            format!("the {what} in the precondition ({asked}) does not match the {what} in record ({is}). {then}");
        Err(Status::conflict(call.group(), &call.kind.kind, &call.name, &why))
    };
    match asked.str_at(&["preconditions", "uid"]) {
        "" => {}
        uid if uid != current.meta.uid => {
            return fail("UID", uid, &current.meta.uid, "The object might have been deleted and then recreated");
        }
        _ => {}
    }
    match asked.str_at(&["preconditions", "resourceVersion"]) {
        "" => Ok(()),
        revision if revision != current.revision.to_string() => {
            fail("ResourceVersion", revision, &current.revision.to_string(), "The object might have been modified")
        }
        _ => Ok(()),
    }
}

/// What is answered for an object that is gone: itself, for the kinds of which upstream does so, or a `Status`.
fn gone(
    call: &Call,
    object: &Arc<Object>,
    mut last: Value,
    revision: Revision,
    now: time::Timestamp,
) -> Result<Answer> {
    let policy = &call.kind.policy;
    if policy.answers_deleted {
        if policy.graceful {
            if last.at(&["metadata", "deletionTimestamp"]).is_null() {
                last.set(&["metadata", "deletionTimestamp"], time::seconds(now));
                meta::bump_generation(&mut last);
            }
            last.set(&["metadata", "deletionGracePeriodSeconds"], 0);
        }
        last.set(&["metadata", "resourceVersion"], revision.to_string());
        return Ok(Answer::Made(convert::for_reply(call, last)?));
    }
    let plural = call.kind.plural.as_str();
    let mut details = value!({"name": object.name(), "kind": plural, "uid": object.meta.uid.as_str()});
    if !call.group().is_empty() {
        details.set(&["group"], call.group());
    }
    let mut status = value!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"});
    status.set(&["details"], details);
    Ok(Answer::Made(status))
}

fn with_revision(mut object: Value, current: &Object) -> Value {
    object.set(&["metadata", "resourceVersion"], current.revision.to_string());
    object
}
