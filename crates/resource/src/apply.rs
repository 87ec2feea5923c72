//! Server-side apply: a patch whose content is a configuration, merged with what its author applied before.
//!
//! The merge is `merge::managed::apply`; what comes out of it is written by the same steps as any other create or update.
//! Wording follows upstream's `applyPatcher` and field managers.

use crate::{
    Answer, Call, Engine, FieldValidation, Reply, WriteOptions,
    call::given_revision,
    convert::{self, KindVersions},
    decode::{self, Refused},
    engine::RETRIES,
    managed::{Tracked, take},
    notes::Warnings,
    subresource::scale_of,
    update::{MayCreate, Round, Written},
};
use base::{Reason, Result, Status};
use merge::managed::{self, Applied};
use schema::SubresourceAction;
use value::{Str, Value, value};

impl Engine {
    /// Applies a configuration; creates the object where there is none and `may_create` lets it.
    pub async fn apply(
        &self,
        call: &Call,
        patch: &merge::Patch,
        options: &WriteOptions,
        may_create: MayCreate<'_>,
    ) -> Result<Reply> {
        let scale = match self.action(call) {
            Some(SubresourceAction::Scale { replicas, .. }) => Some(replicas.clone()),
            _ => None,
        };
        let config = match &scale {
            Some(replicas) => scaled(call, &patch.body, replicas)?,
            None => patch.body.clone(),
        };
        check_type(call, &patch.body, scale.is_some())?;
        let warnings = duplicates(patch, options)?;
        self.catch_up().await?;
        for _ in 0..RETRIES {
            match self.apply_once(call, &config, options, may_create, &warnings).await? {
                Round::Done(reply) if scale.is_some() => {
                    let answer = Answer::Made(scale_of(call, &reply.answer.value())?);
                    return Ok(Reply { answer, ..reply });
                }
                Round::Done(reply) => return Ok(reply),
                Round::Again => {}
            }
        }
        Err(call.stale())
    }

    async fn apply_once(
        &self,
        call: &Call,
        config: &Value,
        options: &WriteOptions,
        may_create: MayCreate<'_>,
        known: &[String],
    ) -> Result<Round> {
        let kind = &call.kind;
        let mut warnings = Warnings::of(&options.notes);
        warnings.extend_from_slice(known);
        let tracked = Tracked::new(call, options, self.clock());
        let Some(current) = self.current(call)? else {
            if call.subresource.is_some() {
                return Err(call.not_found());
            }
            let applied = self.versioned(kind, |v| merged(v, call, &tracked, None, config, options)).await?;
            let uid = config.str_at(&["metadata", "uid"]);
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(call.conflict(&why));
            }
            let object = decoded(call, applied.object.unwrap_or_default(), &mut warnings)?;
            may_create()?;
            return match self.create_managed(call, object, Some(applied.managed), options, warnings).await {
                // Somebody else was faster: what there is now is merged with.
                Err(status) if status.is(Reason::AlreadyExists) && !options.dry_run => Ok(Round::Again),
                made => made.map(Round::Done),
            };
        };
        // A Scale is written through the main resource's own rules.
        let mut whole = call.clone();
        if matches!(self.action(call), Some(SubresourceAction::Scale { .. })) {
            whole.subresource = None;
        }
        let mut old = self.working_value(call, &current).await?;
        let live = take(&mut old);
        let shown = convert::for_reply(call, old.clone())?;
        let there = Some((&shown, &live));
        let applied = self.versioned(kind, |v| merged(v, call, &tracked, there, config, options)).await?;
        let new = match applied.object {
            Some(object) => decoded(call, object, &mut warnings)?,
            None => old.clone(),
        };
        let given = given_revision(config)?;
        if given.is_some_and(|given| given != current.revision) {
            return Err(call.stale());
        }
        let uid = config.str_at(&["metadata", "uid"]);
        if !uid.is_empty() && uid != current.meta.uid {
            return Err(call.other_uid(uid, &current));
        }
        old.remove(&["metadata", "resourceVersion"]);
        let managers = Some(applied.managed);
        let written = Written { new, live, managers, given: Value::Null, by: call, pinned: given.is_some() };
        self.write(&whole, &current, old, written, options, warnings).await
    }
}

fn merged(
    versions: &KindVersions<'_>,
    call: &Call,
    tracked: &Tracked,
    live: Option<(&Value, &Value)>,
    config: &Value,
    options: &WriteOptions,
) -> Result<Applied> {
    managed::apply(versions, live, config, &tracked.write(), options.force).map_err(|refused| match refused {
        managed::Refused::Conflicts(conflicts) => managed::Refused::conflict_status(&conflicts),
        managed::Refused::Status(status) => status,
        managed::Refused::Misfit(lines) => {
            // The configuration's own namespace, which it need not have.
            let (namespace, api_version) = (config.str_at(&["metadata", "namespace"]), call.api_version());
            let named = format!("{namespace}/{}; {}", call.name, type_of(&api_version, &call.kind.kind));
            Status::plain(format!("failed to create typed patch object ({named}): {lines}"))
        }
    })
}

/// A merged tree as an object of its kind, in the version that is worked on and with defaults.
fn decoded(call: &Call, object: Value, warnings: &mut Vec<String>) -> Result<Value> {
    // What does not fit was refused before the merge; what the merge leaves is the server's to tidy.
    let options = WriteOptions { field_validation: FieldValidation::Ignore, ..WriteOptions::default() };
    decode::decode_tree(call, object, &Value::Null, Vec::new(), &options, warnings).map_err(|refused| match refused {
        Refused::Status(status) => status,
        Refused::Foreign { why, .. } => Status::bad_request(why),
        Refused::Mistyped(why) => {
            let (described, version) = (described(call), call.api_version());
            Status::plain(format!("failed to convert new object ({described}) to proper version ({version}): {why}"))
        }
    })
}

/// `default/web; apps/v1, Kind=Deployment`
fn described(call: &Call) -> String {
    format!("{}/{}; {}", call.namespace, call.name, type_of(&call.api_version(), &call.kind.kind))
}

/// A type as Go prints it: the legacy group has a slash too.
fn type_of(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn check_type(call: &Call, config: &Value, scale: bool) -> Result<()> {
    if config.as_object().is_none() {
        let text = "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
        let given = match config.type_name() {
            "integer" => "number",
            "boolean" => "bool",
            name => name,
        };
        return Err(Status::bad_request(format!("{text} {given} into Go value of type map[string]interface {{}}")));
    }
    let (api_version, kind) = (config.str_at(&["apiVersion"]), config.str_at(&["kind"]));
    let fits = match scale {
        true => (api_version, kind) == ("autoscaling/v1", "Scale"),
        false => api_version == call.api_version() && kind == call.kind.kind,
    };
    if !fits {
        return Err(Status::bad_request(format!("invalid object type: {}", type_of(api_version, kind))));
    }
    if !config.at(&["metadata", "managedFields"]).is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// What strict validation says of keys that stand twice: they are refused, or warned about.
fn duplicates(patch: &merge::Patch, options: &WriteOptions) -> Result<Vec<String>> {
    match options.field_validation {
        FieldValidation::Strict if !patch.duplicates.is_empty() => {
            let text = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  ";
            Err(Status::bad_request(format!("{text}{}", patch.duplicates.join("\n  "))))
        }
        FieldValidation::Warn => Ok(patch.duplicates.clone()),
        _ => Ok(Vec::new()),
    }
}

/// An applied Scale as a configuration of the object.
fn scaled(call: &Call, scale: &Value, replicas: &[Str]) -> Result<Value> {
    let mut config = value!({"apiVersion": call.api_version(), "kind": call.kind.kind.as_str(), "metadata": {}});
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        let given = scale.at(&["metadata", field]);
        if !given.is_null() {
            config.set(&["metadata", field], given);
        }
    }
    let wanted = scale.at(&["spec", "replicas"]);
    match wanted.as_i64() {
        Some(n) if n < 0 => {
            let mut errors = base::FieldErrors::default();
            errors.invalid_raw("spec.replicas", n, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", &call.name, &errors));
        }
        _ => {}
    }
    if !wanted.is_null() {
        let path: Vec<&str> = replicas.iter().map(Str::as_str).collect();
        config.set(&path, wanted);
    }
    Ok(config)
}
