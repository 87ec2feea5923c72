//! `update` and `patch`: one loop. A body replaces the object; a patch is applied to what is there and tried again
//! when somebody else was faster (upstream's GuaranteedUpdate).

use crate::{
    Answer, Body, Call, Engine, Reply, WriteOptions,
    call::given_revision,
    convert,
    decode::{self, Refused, decode},
    encode,
    engine::{Change, Committed, Half, RETRIES, last_state},
    managed::{self, Tracked},
    meta,
    notes::Warnings,
};
use base::{FieldErrors, Result, Revision, Status};
use schema::{Kind, Operation, SubresourceAction};
use std::sync::Arc;
use value::{Object, Str, Value};

/// Says whether an update of what does not exist may create it.
pub type MayCreate<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Where the new state comes from.
enum Source<'a> {
    Body(Body, MayCreate<'a>),
    Patch(&'a merge::Patch),
}

/// The outcome of one round of the loop.
pub(crate) enum Round {
    Done(Reply),
    Again,
}

/// A new state on its way to the store.
pub(crate) struct Written<'a> {
    /// In the version that is worked on, without managed fields.
    pub new: Value,
    /// The managed fields of the old state.
    pub live: Value,
    /// Those that the client gave.
    pub given: Value,
    /// Those of the new state, where they are known.
    pub managers: Option<Value>,
    /// The call that managers are told of: a Scale is written through the main resource.
    pub by: &'a Call,
    /// The client insists on a revision.
    pub pinned: bool,
}

impl Engine {
    /// Replaces an object (PUT), or creates it where its kind allows that.
    pub async fn update(&self, call: &Call, body: Body, options: &WriteOptions) -> Result<Reply> {
        self.update_or_create(call, body, options, &|| Ok(())).await
    }

    /// The same for a caller whose right to create is not known: `may_create` is asked before an object is created.
    pub async fn update_or_create(
        &self,
        call: &Call,
        body: Body,
        options: &WriteOptions,
        may_create: MayCreate<'_>,
    ) -> Result<Reply> {
        if let Some(SubresourceAction::Scale { .. }) = self.action(call) {
            return self.put_scale(call, body, options).await;
        }
        self.change(call, Source::Body(body, may_create), options, call).await
    }

    /// Replaces an object on behalf of a call to one of its subresources.
    pub(crate) async fn update_through(
        &self,
        call: &Call,
        body: Body,
        options: &WriteOptions,
        by: &Call,
    ) -> Result<Reply> {
        self.change(call, Source::Body(body, &|| Ok(())), options, by).await
    }

    /// Applies a patch.
    pub async fn patch(&self, call: &Call, patch: &merge::Patch, options: &WriteOptions) -> Result<Reply> {
        if patch.kind == merge::PatchKind::Apply {
            return self.apply(call, patch, options, &|| Ok(())).await;
        }
        if let Some(SubresourceAction::Scale { .. }) = self.action(call) {
            return self.patch_scale(call, patch, options).await;
        }
        self.change(call, Source::Patch(patch), options, call).await
    }

    pub(crate) fn action<'a>(&self, call: &'a Call) -> Option<&'a SubresourceAction> {
        call.kind.subresource_of(call.version, call.subresource.as_deref()?).map(|s| &s.action)
    }

    async fn change(&self, call: &Call, source: Source<'_>, options: &WriteOptions, by: &Call) -> Result<Reply> {
        self.catch_up().await?;
        for _ in 0..RETRIES {
            let Some(current) = self.current(call)? else {
                return match source {
                    Source::Body(body, may_create)
                        if call.kind.policy.create_on_update && call.subresource.is_none() =>
                    {
                        let mut warnings = Warnings::of(&options.notes);
                        let mut object = decode(call, body, options, &mut warnings)?;
                        object.remove(&["metadata", "resourceVersion"]);
                        may_create()?;
                        self.create_decoded(call, object, options, warnings).await
                    }
                    _ => Err(call.not_found()),
                };
            };
            let mut old = self.working_value(call, &current).await?;
            let mut warnings = Warnings::of(&options.notes);
            let named = matches!(source, Source::Patch(patch) if names_managers(patch));
            let mut live = managed::take(&mut old);
            if named {
                managed::put(&mut old, live.clone());
            }
            let (mut new, pinned) = self.desired(call, &source, &current, &old, options, &mut warnings)?;
            let given = managed::take(&mut new);
            if named {
                live = managed::take(&mut old);
            }
            old.remove(&["metadata", "resourceVersion"]);
            let written = Written { new, live, given, managers: None, by, pinned };
            match self.write(call, &current, old, written, options, warnings).await? {
                Round::Done(reply) => return Ok(reply),
                Round::Again => {}
            }
        }
        Err(call.stale())
    }

    /// The new state in the version that is worked on, and whether the client insisted on a revision.
    fn desired(
        &self,
        call: &Call,
        source: &Source<'_>,
        current: &Arc<Object>,
        old: &Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<(Value, bool)> {
        let kind = &call.kind;
        let (given, new) = match source {
            Source::Body(body, _) => (given_revision(&body.value)?, decode(call, body.clone(), options, warnings)?),
            Source::Patch(patch) => patched(call, patch, old, options, warnings)?,
        };
        let is_patch = matches!(source, Source::Patch(_));
        match given {
            Some(given) if given != current.revision => {
                return Err(call.stale());
            }
            None if !is_patch && !kind.policy.unconditional_update => {
                let mut errors = FieldErrors::default();
                let text = "must be specified for an update";
                errors.invalid_raw("metadata.resourceVersion", 0, text);
                // Said of the resource, not of the kind, as upstream's store does.
                return Err(Status::invalid(&kind.group, &kind.plural, &call.name, &errors));
            }
            _ => {}
        }
        let uid = new.str_at(&["metadata", "uid"]);
        if !uid.is_empty() && uid != current.meta.uid {
            if matches!(source, Source::Patch(_)) {
                let mut errors = FieldErrors::default();
                errors.invalid("metadata.uid", uid, "field is immutable");
                errors.invalid("metadata.uid", uid, "field is immutable");
                return Err(Status::invalid(&kind.group, &kind.kind, &call.name, &errors));
            }
            return Err(call.other_uid(uid, current));
        }
        // A patched object repeats the revision it was read at; only a patch that names one insists on it.
        let pinned = given.is_some() && !matches!(source, Source::Patch(patch) if !names_revision(patch));
        Ok((new, pinned))
    }

    /// Everything between the desired state and the store. `old` is without managed fields and revision.
    pub(crate) async fn write(
        &self,
        call: &Call,
        current: &Arc<Object>,
        mut old: Value,
        written: Written<'_>,
        options: &WriteOptions,
        mut warnings: Warnings,
    ) -> Result<Round> {
        let kind = &call.kind;
        let Written { mut new, live, given, managers, by, pinned } = written;
        meta::adopt_path(call, &mut new)?;
        if let Some(SubresourceAction::Fields(fields)) = self.action(call) {
            new = only_fields(&old, new, fields);
        } else if kind.status_apart(call.version) {
            take(&mut new, &old, &["status".into()]);
        }
        meta::keep_system_fields(&mut new, &old);
        let managers = match managers {
            Some(managers) => managers,
            None => {
                let tracked = Tracked::new(by, options, self.clock());
                self.versioned(kind, |versions| tracked.update(versions, &old, &new, &live, &given)).await?
            }
        };
        managed::put(&mut old, live);
        let old = &old;
        let mut new = self.mutate(call, new, Some(old), managers, options, &mut warnings).await?;
        // Admission has no more say in the status than the client.
        if kind.status_apart(call.version) && call.subresource.is_none() && new.at(&["status"]) != old.at(&["status"]) {
            take(&mut new, old, &["status".into()]);
        }
        let cx = self.context(call, Operation::Update);
        kind.hooks.prepare_update(&cx, &mut new, old);
        managed::keep_times(&mut new, old);
        // A write without a change is none, but for moving the object to the storage version or the key of today. It is
        // refused like any other all the same: who may not write an object may not touch it either.
        let unchanged = new == *old;
        meta::count_generation(kind, &mut new, old);
        kind.hooks.allocate(&cx, &mut new, Some(old), &*self.published)?;
        let mut errors = FieldErrors::default();
        meta::validate(kind, &self.catalog(), &new, &mut errors);
        meta::validate_update(&new, old, &mut errors);
        schema::validate_update(&kind.versions[call.working_version()].schema, &new, old, &mut errors);
        kind.hooks.validate(&cx, &new, Some(old), &mut errors);
        self.check(call, &call.name, &errors)?;
        warnings.extend(kind.hooks.warnings(&cx, &new, Some(old)));
        let change = Change { object: new, old: Some(old), options, warnings: &mut warnings };
        let new = self.admit(Half::Validating, call, Operation::Update, change).await?;
        if unchanged
            && new == *old
            && encode::api_version(current.json()) == kind.api_version(kind.storage)
            && !self.is_stale(kind, current).await
        {
            let answer = Answer::Stored(self.in_version(call, current).await?);
            return Ok(Round::Done(Reply { warnings: warnings.take(), ..Reply::ok(answer) }));
        }
        if options.dry_run {
            let mut made = new;
            made.set(&["metadata", "resourceVersion"], current.revision.to_string());
            let made = convert::for_reply(call, made)?;
            return Ok(Round::Done(Reply { warnings: warnings.take(), ..Reply::ok(Answer::Made(made)) }));
        }
        // The last finalizer went: the object goes with it.
        let goes = may_go(kind, &new);
        let key = call.key();
        let old = Some((&**current, old));
        let committed = match goes {
            true => self.commit_removal(call, &key, old).await?.map(|revision| last_state(kind, &key, revision, &new)),
            false => self.commit(call, &key, old, new).await?,
        };
        match committed {
            Committed::Done(stored) => {
                let answer = Answer::Stored(self.in_version(call, &stored).await?);
                Ok(Round::Done(Reply { warnings: warnings.take(), ..Reply::ok(answer) }))
            }
            Committed::Raced if pinned => Err(call.stale()),
            Committed::Raced | Committed::ClaimTaken | Committed::BesideTaken => Ok(Round::Again),
        }
    }
}

/// The old state with a patch applied, and the revision that it holds.
fn patched(
    call: &Call,
    patch: &merge::Patch,
    old: &Value,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<(Option<Revision>, Value)> {
    let kind = &call.kind;
    let shown = convert::for_reply(call, old.clone())?;
    let schema = (kind.custom.is_none()).then_some(&kind.versions[call.version].schema);
    let result = merge::apply(patch, schema, &shown)?;
    let given = given_revision(&result)?;
    match decode::decode_tree(call, result, &shown, patch.duplicates.clone(), options, warnings) {
        Ok(new) => Ok((given, new)),
        Err(Refused::Status(status)) => Err(status),
        // Applied once more for the message, so that a patch that is fine need not be copied.
        Err(Refused::Mistyped(why)) => Err(decode::patch_refused(patch, &merge::apply(patch, schema, &shown)?, why)),
        Err(Refused::Foreign { why, .. }) => {
            Err(decode::patch_refused(patch, &merge::apply(patch, schema, &shown)?, schema::Mistyped(why)))
        }
    }
}

/// True for a patch that says something about managed fields.
fn names_managers(patch: &merge::Patch) -> bool {
    let in_operation = |op: &Value| {
        let path = |field: &str| op.at(&[field]).as_str().unwrap_or("-");
        let around = |p: &str| matches!(p, "" | "/metadata") || p.starts_with("/metadata/managedFields");
        around(path("path")) || around(path("from"))
    };
    let metadata = patch.body.get("metadata");
    let named = metadata.is_some_and(|m| m.is_null() || m.get("managedFields").is_some());
    named || patch.body.items_at(&[]).iter().any(in_operation)
}

/// True for an object that is being deleted and that nothing holds any more.
pub(crate) fn may_go(kind: &Kind, object: &Value) -> bool {
    !object.at(&["metadata", "deletionTimestamp"]).is_null()
        && object.items_at(&["metadata", "finalizers"]).is_empty()
        && object.at(&["metadata", "deletionGracePeriodSeconds"]).as_i64().unwrap_or(0) == 0
        && kind.hooks.may_be_removed(object)
}

/// The old object with only the subresource's fields of the new one.
fn only_fields(old: &Value, new: Value, fields: &[Vec<Str>]) -> Value {
    let mut out = old.clone();
    for field in fields {
        take(&mut out, &new, field);
    }
    out
}

/// Makes one field what it is in `from`, absent if it is absent there.
fn take(into: &mut Value, from: &Value, field: &[Str]) {
    let path: Vec<&str> = field.iter().map(Str::as_str).collect();
    match from.at(&path) {
        Value::Null => drop(into.remove(&path)),
        found => into.set(&path, found),
    }
}

/// True for a patch that says at which revision it applies.
fn names_revision(patch: &merge::Patch) -> bool {
    let in_operation = |op: &Value| op.str_at(&["path"]) == "/metadata/resourceVersion";
    !patch.body.str_at(&["metadata", "resourceVersion"]).is_empty() || patch.body.items_at(&[]).iter().any(in_operation)
}
