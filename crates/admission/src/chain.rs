//! The plugins in upstream's order.

use crate::{
    Plugin, Target, certificates, default_class, default_tolerations, limit_ranger, namespace_lifecycle,
    node_restriction, priority, rbac, resource_quota, runtime_class, service_account, storage, taint_nodes,
};
use auth::Authorizer;
use base::Result;
use resource::{Admission, Attributes, Beside, BoxFuture, Call, Charge};
use schema::Operation;
use std::sync::{Arc, OnceLock};

/// The chain. The authorizer that some plugins ask needs the engine, and the engine needs the chain: it is set once
/// both exist; until then those plugins let only `system:masters` pass.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    authorizer: Arc<OnceLock<Authorizer>>,
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
        Chain { plugins, authorizer }
    }
}

impl Chain {
    /// Gives the plugins their authorizer; a second call changes nothing.
    pub fn set_authorizer(&self, authorizer: Authorizer) {
        let _ = self.authorizer.set(authorizer);
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
        self.plugins.iter().any(|p| p.applies(call, Target::of(call, operation)))
    }
    fn mutate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.run(attributes, |plugin, attributes| plugin.mutate(attributes));
        Box::pin(std::future::ready(done))
    }
    fn charge(&self, write: &Charge<'_>) -> Result<Vec<Beside>> {
        resource_quota::charge(write)
    }
    fn validate<'a>(&'a self, attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<()>> {
        let done = self.run(attributes, |plugin, attributes| plugin.validate(attributes));
        Box::pin(std::future::ready(done))
    }
}
