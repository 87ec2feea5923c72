//! `scale`, and bodies posted to an object: binding, eviction, approval.

use crate::{
    Answer, Body, Call, Engine, Notes, Reply, WriteOptions,
    call::given_revision,
    decode::{self, Refused},
    engine::{Change, Committed, Half, RETRIES},
    notes::Warnings,
    part,
};
use base::{FieldErrors, Result, Status};
use schema::{ActOutcome, Deletion, Operation, SubresourceAction};
use std::sync::Arc;
use value::{Object, Str, Value, value};

impl Engine {
    /// A body posted to a subresource.
    pub(crate) async fn post_subresource(&self, call: &Call, body: Body, options: &WriteOptions) -> Result<Reply> {
        if self.action(call) != Some(&SubresourceAction::Act) {
            return Err(Status::method_not_allowed());
        }
        let mut said = Vec::new();
        let body = part::body(call, body, options, &mut said)?;
        for _ in 0..RETRIES {
            let current = self.current(call)?.ok_or_else(|| call.not_found())?;
            let mut old = self.working_value(call, &current).await?;
            old.remove(&["metadata", "resourceVersion"]);
            let mut warnings = Warnings::of(&options.notes);
            warnings.extend_from_slice(&said);
            let change = Change { object: body.clone(), old: Some(&old), options, warnings: &mut warnings };
            let asked = self.admit(Half::Mutating, call, Operation::Create, change).await?;
            let cx = self.context(call, Operation::Create);
            let mut new = old.clone();
            let outcome = call.kind.hooks.act(&cx, &asked, &mut new)?;
            let change = Change { object: asked, old: Some(&old), options, warnings: &mut warnings };
            self.admit(Half::Validating, call, Operation::Create, change).await?;
            let answer = match outcome {
                ActOutcome::Delete(deletion) => match self.delete_for(call, &current, deletion, options).await? {
                    true => return Ok(Reply { answer: success(), created: true, warnings: warnings.take() }),
                    false => continue,
                },
                // A binding or an approval is no change of what is wanted: the generation stays.
                ActOutcome::Commit(answer) => answer,
            };
            if options.dry_run {
                return Ok(Reply {
                    answer: Answer::Made(answer.unwrap_or(new)),
                    created: true,
                    warnings: warnings.take(),
                });
            }
            let key = call.key();
            if let Committed::Done(stored) = self.commit(call, &key, Some((&current, &old)), new).await? {
                let answer = match answer {
                    Some(value) => Answer::Made(value),
                    None => Answer::Stored(stored),
                };
                return Ok(Reply { answer, created: true, warnings: warnings.take() });
            }
        }
        Err(call.stale())
    }

    /// Admission of a connection to an object, whose options these are. Answers with its warnings.
    pub async fn connect(&self, call: &Call, options: Value, notes: Notes) -> Result<Vec<String>> {
        self.catch_up().await?;
        let mut warnings = Vec::new();
        let write = WriteOptions { notes, ..WriteOptions::default() };
        let change = Change { object: options, old: None, options: &write, warnings: &mut warnings };
        let object = self.admit(Half::Mutating, call, Operation::Connect, change).await?;
        let change = Change { object, old: None, options: &write, warnings: &mut warnings };
        self.admit(Half::Validating, call, Operation::Connect, change).await?;
        Ok(warnings)
    }

    /// Deletes an object as an action asks; false where that has to be asked again, because somebody was faster.
    async fn delete_for(
        &self,
        call: &Call,
        current: &Object,
        deletion: Deletion,
        options: &WriteOptions,
    ) -> Result<bool> {
        let Deletion { options: mut asked, pinned, first } = deletion;
        let dry = asked.items_at(&["dryRun"]).iter().any(|stage| *stage == "All");
        let options = &WriteOptions { dry_run: options.dry_run || dry, ..options.clone() };
        let insists = !asked.str_at(&["preconditions", "resourceVersion"]).is_empty();
        let revision = ["preconditions", "resourceVersion"];
        if pinned && !insists {
            asked.set(&revision, current.revision.to_string());
        }
        for write in first {
            let own = write.group == call.kind.group && write.plural == call.kind.plural && write.name == call.name;
            let Some(kind) = self.catalog().get(write.group, write.plural).cloned() else { continue };
            let mut to = call.clone();
            (to.version, to.kind, to.name) = (kind.storage, kind, write.name);
            to.subresource = Some(write.subresource.into());
            let mut object = write.object;
            // Our own write moves the object on; the condition moves with it.
            let known = asked.str_at(&revision).to_string();
            if own && !known.is_empty() {
                object.set(&["metadata", "resourceVersion"], known);
            }
            let written = match write.patch {
                false => self.update(&to, Body::from(object), options).await,
                true => {
                    let patch =
                        merge::Patch { kind: merge::PatchKind::Strategic, body: object, duplicates: Vec::new() };
                    self.patch(&to, &patch, options).await
                }
            };
            match written {
                Ok(reply) if own && !asked.str_at(&revision).is_empty() => {
                    asked.set(&revision, reply.answer.value().str_at(&["metadata", "resourceVersion"]));
                }
                Ok(_) => {}
                Err(status) if status.is(base::Reason::Conflict) && !(own && insists) => return Ok(false),
                Err(status) => return Err(status),
            }
        }
        let mut whole = call.clone();
        whole.subresource = None;
        match self.delete(&whole, Some(asked), options).await {
            Ok(_) => Ok(true),
            Err(status) if status.is(base::Reason::Conflict) && pinned && !insists => Ok(false),
            Err(status) => Err(status),
        }
    }

    pub(crate) async fn get_scale(&self, call: &Call, object: &Arc<Object>) -> Result<Reply> {
        let value = self.working_value(call, object).await?;
        Ok(Reply::ok(Answer::Made(scale_of(call, &value)?)))
    }

    pub(crate) async fn put_scale(&self, call: &Call, body: Body, options: &WriteOptions) -> Result<Reply> {
        let mut said = Vec::new();
        let scale = part::body(call, body, options, &mut said)?;
        self.change_scale(call, options, said, |_| Ok(scale.clone())).await
    }

    pub(crate) async fn patch_scale(&self, call: &Call, patch: &merge::Patch, options: &WriteOptions) -> Result<Reply> {
        let schema = scale_schema().filter(|_| call.kind.custom.is_none());
        // What is unknown in a scale is told of by nobody: it is gone with the patch.
        self.change_scale(call, options, Vec::new(), |scale| {
            let result = merge::apply(patch, schema.as_ref(), scale)?;
            let duplicates = patch.duplicates.clone();
            part::tree(call, result.clone(), duplicates, options, &mut Vec::new()).map_err(|refused| match refused {
                Refused::Status(status) => status,
                Refused::Mistyped(why) => decode::patch_refused(patch, &result, why),
                Refused::Foreign { why, .. } => decode::patch_refused(patch, &result, schema::Mistyped(why)),
            })
        })
        .await
    }

    /// Reads the scale, changes it, and writes the replicas through the main resource's own rules.
    async fn change_scale(
        &self,
        call: &Call,
        options: &WriteOptions,
        said: Vec<String>,
        change: impl Fn(&Value) -> Result<Value>,
    ) -> Result<Reply> {
        let mut whole = call.clone();
        whole.subresource = None;
        for attempt in 0..RETRIES {
            let current = self.current(call)?.ok_or_else(|| call.not_found())?;
            let mut object = self.working_value(call, &current).await?;
            let scale = change(&scale_of(call, &object)?)?;
            part::replaces(call, &scale, &current)?;
            let given = given_revision(&scale)?;
            if given.is_some_and(|given| given != current.revision) {
                return Err(call.stale());
            }
            let replicas = scale.at(&["spec", "replicas"]).as_i64().unwrap_or(0);
            if replicas < 0 {
                let mut errors = FieldErrors::default();
                errors.invalid_raw("spec.replicas", replicas, "must be greater than or equal to 0");
                return Err(Status::invalid("autoscaling", "Scale", &call.name, &errors));
            }
            let (path, ..) = scale_paths(call)?;
            object.set(&members(path), replicas);
            let mut main = whole.clone();
            main.version = call.working_version();
            match self.update_through(&main, Body::from(object), options, call).await {
                Ok(reply) => {
                    let answer = Answer::Made(scale_of(call, &reply.answer.value())?);
                    let warnings = [said, reply.warnings].concat();
                    return Ok(Reply { answer, warnings, ..reply });
                }
                // A patch carries the revision it was applied to: only the next look tells whether the client's own is stale.
                Err(status) if status.is(base::Reason::Conflict) => {
                    tracing::debug!(attempt, name = %call.name, "scaling again");
                }
                Err(status) => return Err(status),
            }
        }
        Err(call.stale())
    }
}

type ScalePaths<'a> = (&'a [Str], &'a [Str], Option<&'a [Str]>);

fn scale_paths(call: &Call) -> Result<ScalePaths<'_>> {
    let name = call.subresource.as_deref().unwrap_or("");
    match call.kind.subresource_of(call.version, name).map(|s| &s.action) {
        Some(SubresourceAction::Scale { replicas, status_replicas, selector }) => {
            Ok((replicas, status_replicas, selector.as_deref()))
        }
        _ => Err(Status::no_such_path()),
    }
}

fn members(path: &[Str]) -> Vec<&str> {
    path.iter().map(Str::as_str).collect()
}

/// `autoscaling/v1 Scale` of an object.
pub(crate) fn scale_of(call: &Call, object: &Value) -> Result<Value> {
    let (replicas, status_replicas, selector) = scale_paths(call)?;
    let mut scale = value!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {}});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let found = object.at(&["metadata", field]);
        if !found.is_null() {
            scale.set(&["metadata", field], found);
        }
    }
    scale.set(&["spec", "replicas"], object.at(&members(replicas)).as_i64().unwrap_or(0));
    scale.set(&["status", "replicas"], object.at(&members(status_replicas)).as_i64().unwrap_or(0));
    let selector = selector.map(|path| object.at(&members(path)));
    let text = match selector {
        Some(Value::String(text)) => text.to_string(),
        // A ReplicationController's selector is a plain map.
        Some(Value::Object(map)) if map.iter().any(|(_, value)| value.as_str().is_some()) => {
            select::LabelSelector::from_map(&Value::Object(map.clone())).to_string()
        }
        Some(found @ Value::Object(_)) => {
            select::LabelSelector::from_object(found).map_err(Status::internal)?.to_string()
        }
        _ => String::new(),
    };
    if !text.is_empty() {
        scale.set(&["status", "selector"], text);
    }
    if let Some(schema) = scale_schema() {
        schema::normalize(&schema, &mut scale);
    }
    Ok(scale)
}

/// Clients patch a scale as they patch any built-in type.
fn scale_schema() -> Option<schema::Schema> {
    schema::builtin::of("autoscaling", "v1", "Scale")
}

/// `Status` of success without details.
fn success() -> Answer {
    Answer::Made(value!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201}))
}
