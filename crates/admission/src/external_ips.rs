//! DenyServiceExternalIPs: nobody takes addresses for a Service that it has not already. AlwaysDeny: nobody writes at all.

use crate::{Plugin, Target, plugin::forbid};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;

pub struct DenyExternalIps;
pub struct AlwaysDeny;

impl Plugin for DenyExternalIps {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("services", "") && matches!(target.operation, Operation::Create | Operation::Update)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let before = a.old.map_or(&[][..], |old| old.items_at(&["spec", "externalIPs"]));
        match a.object.items_at(&["spec", "externalIPs"]).iter().all(|ip| before.contains(ip)) {
            true => Ok(()),
            false => Err(forbid(a, "Use of external IPs is denied by admission control")),
        }
    }
}

impl Plugin for AlwaysDeny {
    fn applies(&self, _: &Call, _: Target<'_>) -> bool {
        true
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        self.validate(a)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        Err(forbid(a, "admission control is denying all modifications"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::{Value, value};

    #[test]
    fn addresses_may_only_be_given_up() {
        let service =
            |ips: Value| value!({"metadata": {"name": "s", "namespace": "dev"}, "spec": {"externalIPs": ips}});
        let refused = "403 services \"s\" is forbidden: Use of external IPs is denied by admission control";
        let create = |ips: Value| Case::default().create("", "services", service(ips));
        check(&DenyExternalIps, create(value!([])), "ok");
        check(&DenyExternalIps, create(value!(["1.2.3.4"])), refused);
        let before = value!(["1.2.3.4", "5.6.7.8"]);
        let update = |ips: Value| Case::default().update("", "services", "", service(ips), service(before.clone()));
        check(&DenyExternalIps, update(value!(["5.6.7.8"])), "ok");
        check(&DenyExternalIps, update(value!(["5.6.7.8", "9.9.9.9"])), refused);
        let denied = "403 services \"s\" is forbidden: admission control is denying all modifications";
        check(&AlwaysDeny, create(value!([])), denied);
    }
}
