//! The plugins in upstream's order, and what users configure behind them: policies change an object before webhooks do,
//! and refuse it before they do.

use crate::{
    Plugin, Target, certificates, default_class, default_tolerations,
    dynamic::{Dynamic, GROUP, Index, PolicyRounds, Rounds},
    limit_ranger, namespace_lifecycle, node_restriction, priority, rbac, resource_quota, runtime_class,
    service_account, storage, taint_nodes,
};
use auth::Authorizer;
use base::Result;
use net::Outgoing;
use resource::{Admission, Attributes, Beside, BoxFuture, Call, Charge, Engine};
use schema::{Operation, View};
use std::sync::{Arc, OnceLock};

/// The chain. The authorizer that some plugins ask needs the engine, and the engine needs the chain: it is set once
/// both exist; until then those plugins let only `system:masters` pass.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    authorizer: Arc<OnceLock<Authorizer>>,
    dynamic: Arc<Dynamic>,
}

impl Default for Chain {
    fn default() -> Self {
        let authorizer: Arc<OnceLock<Authorizer>> = Arc::default();
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(taint_nodes::TaintNodesByCondition),
            Box::new(priority::Priority),
            Box::new(default_tolerations::DefaultTolerationSeconds),
            Box::new(default_class::STORAGE),
            Box::new(storage::InUseProtection),
            Box::new(storage::ClaimResize),
            Box::new(runtime_class::RuntimeClass),
            Box::new(certificates::Approval(authorizer.clone())),
            Box::new(certificates::Signing(authorizer.clone())),
            Box::new(certificates::SubjectRestriction),
            Box::new(default_class::INGRESS),
            Box::new(rbac::Escalation(authorizer.clone())),
        ];
        let dynamic = Arc::new(Dynamic::new(authorizer.clone()));
        Chain { plugins, authorizer, dynamic }
    }
}

impl Chain {
    /// Gives the plugins their authorizer; a second call changes nothing.
    pub fn set_authorizer(&self, authorizer: Authorizer) {
        let _ = self.authorizer.set(authorizer);
    }
    /// Follows the webhooks and policies of an engine, and calls webhooks by `outgoing`.
    pub fn follow(&self, engine: &Arc<Engine>, outgoing: Arc<Outgoing>) {
        self.dynamic.set_outgoing(outgoing);
        self.dynamic.follow(engine);
    }
    /// Brings a written configuration of webhooks or policies into force; asked after every write, of whatever kind.
    pub fn settled(&self, call: &Call, view: &dyn View) {
        if call.kind.group == GROUP {
            self.dynamic.renew(view);
        }
    }
    /// Adds a plugin at the end.
    pub fn push(&mut self, plugin: Box<dyn Plugin>) {
        self.plugins.push(plugin);
    }
    fn run(
        &self,
        attributes: &mut Attributes<'_>,
        half: fn(&dyn Plugin, &mut Attributes<'_>) -> Result<()>,
    ) -> Result<()> {
        let (call, operation) = (attributes.call, attributes.operation);
        let mut plugins = self.plugins.iter().filter(|p| p.applies(call, Target::of(call, operation)));
        plugins.try_for_each(|plugin| half(&**plugin, attributes))
    }
}

impl Admission for Chain {
    fn applies(&self, call: &Call, operation: Operation) -> bool {
        self.dynamic.applies(call) || self.plugins.iter().any(|p| p.applies(call, Target::of(call, operation)))
    }
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.mutate_once(attributes);
        match self.dynamic.index(attributes.call) {
            Some(index) if done.is_ok() => Box::pin(self.mutate_configured(index, attributes)),
            _ => Box::pin(std::future::ready(done)),
        }
    }
    fn charge(&self, write: &Charge<'_>) -> Result<Vec<Beside>> {
        resource_quota::charge(write)
    }
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.run(attributes, |plugin, attributes| plugin.validate(attributes));
        match self.dynamic.index(attributes.call) {
            Some(index) if done.is_ok() => Box::pin(self.validate_configured(index, attributes)),
            _ => Box::pin(std::future::ready(done)),
        }
    }
}

impl Chain {
    fn mutate_once(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        self.run(attributes, |plugin, attributes| plugin.mutate(attributes))
    }

    /// Policies and webhooks, and everybody a second time where they have changed anything.
    async fn mutate_configured(&self, index: Arc<Index>, a: &mut Attributes<'_>) -> Result<()> {
        let (mut policies, mut hooks) = (PolicyRounds::default(), Rounds::default());
        let catalog = self.dynamic.catalog();
        for again in [false, true] {
            if again {
                self.mutate_once(a)?;
            }
            self.dynamic.mutate_by_policies(&index.mutations, a, &catalog, &mut policies, again)?;
            self.dynamic.call_mutating(&index.mutating, a, &mut hooks, again).await?;
            if !policies.changed && !hooks.changed {
                break;
            }
        }
        Ok(())
    }

    async fn validate_configured(&self, index: Arc<Index>, a: &mut Attributes<'_>) -> Result<()> {
        self.dynamic.validate_by_policies(&index.validations, a, &self.dynamic.catalog())?;
        self.dynamic.call_validating(&index.validating, a).await
    }
}
