//! Values that only their library understands.

use super::{authz, formats::NamedFormat, net::Cidr, semver::Version, url::Url};
use crate::types::{Type, library};
use base::quantity::Quantity;
use std::{fmt, net::IpAddr};

#[derive(Debug)]
pub enum Opaque {
    Quantity(Quantity),
    Url(Url),
    Semver(Version),
    Format(&'static NamedFormat),
    Ip(IpAddr),
    Cidr(Cidr),
    Authorizer(authz::Subject),
    PathCheck(authz::PathCheck),
    GroupCheck(authz::GroupCheck),
    ResourceCheck(authz::ResourceCheck),
    Decision(authz::Decision),
}

impl Opaque {
    pub fn type_of(&self) -> Type {
        match self {
            Opaque::Quantity(_) => library::QUANTITY,
            Opaque::Url(_) => library::URL,
            Opaque::Semver(_) => library::SEMVER,
            Opaque::Format(_) => library::FORMAT,
            Opaque::Ip(_) => library::IP,
            Opaque::Cidr(_) => library::CIDR,
            Opaque::Authorizer(_) => library::AUTHORIZER,
            Opaque::PathCheck(_) => library::PATH_CHECK,
            Opaque::GroupCheck(_) => library::GROUP_CHECK,
            Opaque::ResourceCheck(_) => library::RESOURCE_CHECK,
            Opaque::Decision(_) => library::DECISION,
        }
    }

    /// `==`
    pub fn same(&self, other: &Opaque) -> bool {
        match (self, other) {
            (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
            (Opaque::Url(a), Opaque::Url(b)) => a.text == b.text,
            (Opaque::Semver(a), Opaque::Semver(b)) => a.order(b).is_eq(),
            (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
            (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
            (Opaque::Cidr(a), Opaque::Cidr(b)) => a == b,
            _ => std::ptr::eq(self, other),
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opaque::Quantity(q) => write!(f, "{q}"),
            Opaque::Url(url) => f.write_str(&url.text),
            Opaque::Semver(version) => write!(f, "{version}"),
            Opaque::Format(format) => f.write_str(format.name),
            Opaque::Ip(ip) => write!(f, "{ip}"),
            Opaque::Cidr(cidr) => write!(f, "{cidr}"),
            other => f.write_str(other.type_of().name()),
        }
    }
}
