//! The Deployment controller's executor.

use super::{
    plan::{Plan, Scale, plan},
    set::REVISION,
};
use crate::claim::{self, Claim, Claimable};
use base::{clock::Clock, time::Timestamp};
use client::{Api, Client, DeleteOptions, Patch, kinds};
use control::{Cache, Caches, Outcome, Queue, Reconciler, Recorder, Reference, index};
use select::LabelSelector;
use std::sync::Arc;
use value::{ObjectKey, Str, Value};

struct Deployments {
    client: Client,
    deployments: Cache,
    sets: Cache,
    recorder: Recorder,
}

/// Runs the controller until its caches end.
pub async fn run(caches: Caches, recorder: Recorder, clock: Arc<dyn Clock>) {
    let queue: Queue<ObjectKey> = Queue::default();
    let (deployments, sets) = (caches.kind(&kinds::DEPLOYMENTS), caches.kind(&kinds::REPLICA_SETS));
    deployments.index("uid", |o| vec![o.meta.uid.clone()]);
    sets.index(OWNER, |set| {
        vec![index::controller(set).map_or_else(|| orphans(&set.key.namespace), |owner| owner.uid)]
    });
    deployments.subscribe_keys(&queue);
    let by_uid = deployments.clone();
    sets.subscribe(&queue, move |event| {
        let owners = index::owners(event.latest());
        match owners.iter().find(|o| o.controller) {
            Some(owner) => by_uid.by_index("uid", &owner.uid).iter().map(|d| d.key.clone()).collect::<Vec<_>>(),
            None => by_uid.list_namespace(&event.key.namespace).iter().map(|d| d.key.clone()).collect(),
        }
    });
    deployments.wait_synced().await;
    sets.wait_synced().await;
    let controller = Deployments { client: caches.client().clone(), deployments, sets, recorder };
    control::run(Arc::new(controller), queue, 4, clock).await;
}

const OWNER: &str = "deployment-owner";

/// The index entry of a namespace's sets that have no controller; no uid looks like it.
fn orphans(namespace: &str) -> Str {
    format!("orphans/{namespace}").into()
}

/// A Deployment, the sets to adopt or release, and its next step.
#[derive(Debug)]
struct Work {
    deployment: Value,
    claims: Vec<(Claim, Str, Str)>,
    plan: Plan,
}

struct Candidate<'a> {
    object: &'a Value,
    controller: Option<Str>,
}

impl Claimable for Candidate<'_> {
    fn controller(&self) -> Option<&str> {
        self.controller.as_deref()
    }
    fn labels(&self) -> &Value {
        self.object.at(&["metadata", "labels"])
    }
    fn deleting(&self) -> bool {
        !self.object.at(&["metadata", "deletionTimestamp"]).is_null()
    }
}

impl Reconciler for Deployments {
    type Key = ObjectKey;
    type Plan = Work;

    fn name(&self) -> &'static str {
        "deployment"
    }

    fn plan(&self, key: &ObjectKey, now: Timestamp) -> Option<Work> {
        let object = self.deployments.get(key)?;
        let deployment = object.value();
        let selector = LabelSelector::from_object(deployment.at(&["spec", "selector"])).ok()?;
        let (mut owned, mut claims) = (Vec::new(), Vec::new());
        let mut candidates = self.sets.by_index(OWNER, &object.meta.uid);
        candidates.extend(self.sets.by_index(OWNER, &orphans(&key.namespace)));
        for set in candidates {
            let controller = index::owners(&set).into_iter().find(|o| o.controller).map(|o| o.uid);
            let value = set.value();
            let verdict = claim::claim(
                &Candidate { object: &value, controller },
                &object.meta.uid,
                object.meta.deleting,
                &selector,
            );
            match verdict {
                Claim::Keep => owned.push(value),
                Claim::Adopt | Claim::Release => claims.push((verdict, set.key.name.clone(), set.meta.uid.clone())),
                Claim::Leave => {}
            }
        }
        // What is adopted counts in the round that its event asks for.
        let plan = if claims.is_empty() { plan(&deployment, &owned, now) } else { Plan::default() };
        (plan != Plan::default() || !claims.is_empty()).then_some(Work { deployment, claims, plan })
    }

    async fn execute(&self, key: &ObjectKey, work: Work) -> Result<Outcome, client::Error> {
        let Work { deployment, claims, plan } = work;
        let api = self.client.api(&kinds::DEPLOYMENTS).namespace(key.namespace.clone());
        let sets = self.client.api(&kinds::REPLICA_SETS).namespace(key.namespace.clone());
        let adoptions = claims.iter().any(|(verdict, ..)| *verdict == Claim::Adopt);
        let adopting = adoptions && claim::may_adopt(&api, &deployment).await?;
        for (verdict, name, uid) in claims.into_iter().filter(|(verdict, ..)| adopting || *verdict != Claim::Adopt) {
            let patch = match verdict {
                Claim::Adopt => claim::adoption(claim::reference("apps/v1", "Deployment", &deployment), &uid),
                _ => claim::release(deployment.str_at(&["metadata", "uid"]), &uid),
            };
            sets.patch(&name, &Patch::Strategic(patch)).await?;
        }
        if let Some(set) = &plan.create {
            self.create(&sets, &deployment, set).await?;
        }
        for scale in &plan.scale {
            self.scale(&sets, &deployment, scale).await?;
        }
        for (name, uid) in &plan.delete {
            match sets.delete(name, &DeleteOptions::uid(uid.as_str())).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        let mut next = deployment.clone();
        if let Some(revision) = plan.revision {
            next.set(&["metadata", "annotations", REVISION], revision.to_string());
            let made = api.update(&key.name, &next).await?;
            next = made.value();
            self.deployments.put(made.key.clone(), made.revision, made);
        }
        if let Some(status) = plan.status {
            next.set(&["status"], status);
            let made = api.update_status(&key.name, &next).await?;
            self.deployments.put(made.key.clone(), made.revision, made);
        }
        Ok(plan.look_again.map_or(Outcome::Done, Outcome::After))
    }
}

impl Deployments {
    async fn create(&self, sets: &Api, deployment: &Value, set: &Value) -> Result<(), client::Error> {
        let size = set.at(&["spec", "replicas"]).as_i64().unwrap_or(0);
        let made = match sets.create(set).await {
            Ok(made) => made,
            Err(error) if error.is_already_exists() => return self.collision(sets, deployment, set, error).await,
            Err(error) => return Err(error),
        };
        if size > 0 {
            self.say(deployment, set.name(), 0, size);
        }
        self.sets.put(made.key.clone(), made.revision, made);
        Ok(())
    }

    /// The name is taken: by a set that this controller made and has not seen yet, or by a stranger's hash.
    async fn collision(
        &self,
        sets: &Api,
        deployment: &Value,
        set: &Value,
        error: client::Error,
    ) -> Result<(), client::Error> {
        let present = sets.get(set.name()).await?;
        let own = index::owners(&present).iter().any(|o| o.uid == *deployment.str_at(&["metadata", "uid"]));
        if own {
            self.sets.put(present.key.clone(), present.revision, present);
            return Err(error);
        }
        let count = deployment.at(&["status", "collisionCount"]).as_i64().unwrap_or(0) + 1;
        let api = self.client.api(&kinds::DEPLOYMENTS).namespace(deployment.namespace());
        let mut next = deployment.clone();
        next.set(&["status", "collisionCount"], count);
        api.update_status(deployment.name(), &next).await?;
        Err(error)
    }

    async fn scale(&self, sets: &Api, deployment: &Value, scale: &Scale) -> Result<(), client::Error> {
        let name = scale.object.name();
        let made = sets.update(name, &scale.object).await?;
        if scale.from != scale.to {
            self.say(deployment, name, scale.from, scale.to);
        }
        self.sets.put(made.key.clone(), made.revision, made);
        Ok(())
    }

    fn say(&self, deployment: &Value, set: &str, from: i64, to: i64) {
        let about = Reference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: deployment.namespace().into(),
            name: deployment.name().into(),
            uid: deployment.str_at(&["metadata", "uid"]).into(),
            ..Reference::default()
        };
        let way = if to > from { "up" } else { "down" };
        self.recorder.normal(
            &about,
            "ScalingReplicaSet",
            format!("Scaled {way} replica set {set} from {from} to {to}"),
        );
    }
}
