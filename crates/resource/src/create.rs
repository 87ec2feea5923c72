//! `create`.

use crate::{
    Answer, Body, Call, Engine, Reply, WriteOptions, convert,
    decode::decode,
    engine::{Change, Committed, Half, RETRIES},
    managed::{self, Tracked},
    meta,
    notes::Warnings,
};
use base::{FieldErrors, Result, Status};
use schema::Operation;
use value::{ObjectKey, Value};

impl Engine {
    /// Creates an object; with a subresource, posts a body to one.
    pub async fn create(&self, call: &Call, body: Body, options: &WriteOptions) -> Result<Reply> {
        self.catch_up().await?;
        if call.subresource.is_some() {
            return self.post_subresource(call, body, options).await;
        }
        let mut warnings = Warnings::of(&options.notes);
        let object = decode(call, body, options, &mut warnings)?;
        self.create_decoded(call, object, options, warnings).await
    }

    /// Creates an object that is decoded already, in the version that is worked on.
    pub(crate) async fn create_decoded(
        &self,
        call: &Call,
        object: Value,
        options: &WriteOptions,
        warnings: Warnings,
    ) -> Result<Reply> {
        self.create_managed(call, object, None, options, warnings).await
    }

    /// The same for one whose managers are known: it was applied.
    pub(crate) async fn create_managed(
        &self,
        call: &Call,
        mut object: Value,
        managers: Option<Value>,
        options: &WriteOptions,
        mut warnings: Warnings,
    ) -> Result<Reply> {
        let kind = &call.kind;
        meta::adopt_path(call, &mut object)?;
        let versioned = !object.str_at(&["metadata", "resourceVersion"]).is_empty();
        let given = managed::take(&mut object);
        let managers = match managers {
            Some(managers) => managers,
            None => Tracked::new(call, options, self.clock()).create(&object, &given, &self.known)?,
        };
        let mut object = self.mutate(call, object, None, managers, options, &mut warnings).await?;
        let cx = self.context(call, Operation::Create);
        if kind.status_apart(call.version) {
            object.remove(&["status"]);
            // What upstream's types always write, clients patch into.
            let fields = &kind.versions[kind.storage].schema.node().fields;
            if fields.iter().any(|f| f.name == "status" && f.empty == schema::Empty::Zero) {
                object.set(&["status"], Value::object());
            }
        }
        meta::fill_new(kind, &mut object, cx.now);
        kind.hooks.prepare_create(&cx, &mut object);
        // Only what may have to try again keeps what was asked for.
        let again = object.name().is_empty() || kind.hooks.allocates();
        let mut asked = Some(object);
        for attempt in 0..RETRIES {
            let kept = if again { asked.clone() } else { None };
            let Some(mut object) = std::mem::replace(&mut asked, kept) else { break };
            let generated = meta::generate_name(&mut object);
            let cx = self.context(call, Operation::Create);
            kind.hooks.allocate(&cx, &mut object, None, &*self.published)?;
            let mut errors = FieldErrors::default();
            meta::validate_prefix(kind, &object, &mut errors);
            meta::validate(kind, &self.catalog(), &object, &mut errors);
            schema::validate(&kind.versions[call.working_version()].schema, &object, &mut errors);
            kind.hooks.validate(&cx, &object, None, &mut errors);
            self.check(call, object.name(), &errors)?;
            warnings.extend(kind.hooks.warnings(&cx, &object, None));
            let change = Change { object, old: None, options, warnings: &mut warnings };
            let object = self.admit(Half::Validating, call, Operation::Create, change).await?;
            let key = ObjectKey::new(object.namespace(), object.name());
            if options.dry_run {
                self.charged(call, None, &object)?;
                if self.published.cache(kind).is_some_and(|cache| cache.get(&key).is_some()) {
                    return Err(Status::already_exists(call.group(), &kind.plural, &key.name));
                }
                let made = convert::for_reply(call, object)?;
                return Ok(Reply { answer: Answer::Made(made), created: true, warnings: warnings.take() });
            }
            // Told last, as upstream's store does: who may not create the object hears of that first.
            if versioned {
                return Err(Status::plain("resourceVersion should not be set on objects to be created"));
            }
            match self.commit(call, &key, None, object).await? {
                Committed::Done(stored) => {
                    let answer = Answer::Stored(self.in_version(call, &stored).await?);
                    return Ok(Reply { answer, created: true, warnings: warnings.take() });
                }
                Committed::Raced if !generated => {
                    return Err(Status::already_exists(call.group(), &kind.plural, &key.name));
                }
                // A random name that was taken, or a claim that somebody else got first: try another.
                Committed::Raced | Committed::ClaimTaken | Committed::BesideTaken => {
                    tracing::debug!(attempt, %key, "creating again")
                }
            }
        }
        Err(Status::internal(format!("{} could not be created: what it claims is always taken", kind.kind)))
    }
}
