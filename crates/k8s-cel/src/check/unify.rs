//! Type variables and what they stand for.
//!
//! `assignable(a, b)` says whether `b` may stand where `a` is expected, and binds variables on the way; where the answer is
//! no, nothing stays bound. Dynamic types fit everywhere, and a variable that met one becomes it.

use crate::types::Type;

/// Variables above the letters of signatures.
const FIRST: u32 = 26;

#[derive(Debug, Default)]
pub struct Unifier {
    bound: Vec<Option<Type>>,
    /// What was changed, for the way back.
    trail: Vec<(usize, Option<Type>)>,
}

impl Unifier {
    /// A new variable.
    pub fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(FIRST + (self.bound.len() - 1) as u32)
    }

    pub fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        self.trail.clear();
        let fits = self.fits(a, b);
        if !fits {
            self.undo();
        }
        fits
    }

    /// All pairs, or nothing is bound.
    pub fn assignable_all<'t>(&mut self, mut pairs: impl Iterator<Item = (&'t Type, &'t Type)>) -> bool {
        self.trail.clear();
        let fits = pairs.all(|(a, b)| self.fits(a, b));
        if !fits {
            self.undo();
        }
        fits
    }

    fn undo(&mut self) {
        while let Some((at, before)) = self.trail.pop() {
            self.bound[at] = before;
        }
    }

    fn find(&self, ty: &Type) -> Option<&Type> {
        match ty {
            Type::Param(n) => self.bound.get(n.checked_sub(FIRST)? as usize)?.as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, variable: &Type, ty: Type) {
        let Type::Param(n) = variable else { return };
        let Some(at) = n.checked_sub(FIRST).map(|n| n as usize).filter(|at| *at < self.bound.len()) else { return };
        let before = self.bound[at].replace(ty);
        self.trail.push((at, before));
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(_) = b {
            let (valid, had) = self.substitutes(a, b);
            if valid || had {
                return valid;
            }
        }
        if let Type::Param(_) = a {
            return self.substitutes(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => other.is_nullable(),
            (Type::Meta(_), Type::Meta(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.fits(ak, bk) && self.fits(av, bv),
            (a, b) => a == b,
        }
    }

    /// Whether `ty` may be what `variable` stands for, and whether it stood for something before.
    fn substitutes(&mut self, ty: &Type, variable: &Type) -> (bool, bool) {
        if ty == variable {
            return (true, true);
        }
        if let Some(bound) = self.find(variable).cloned() {
            if *ty == bound {
                return (true, true);
            }
            if !self.fits(ty, &bound) {
                return (false, true);
            }
            let general = most_general(ty, &bound).clone();
            if !self.occurs(variable, &general) {
                self.bind(variable, general);
            }
            return (true, true);
        }
        if self.occurs(variable, ty) {
            return (false, false);
        }
        self.bind(variable, ty.clone());
        (true, false)
    }

    /// Whether a variable is part of a type.
    fn occurs(&self, variable: &Type, ty: &Type) -> bool {
        if variable == ty {
            return true;
        }
        match ty {
            Type::Param(_) => self.find(ty).is_some_and(|bound| self.occurs(variable, bound)),
            other => other.parameters().into_iter().any(|inner| self.occurs(variable, inner)),
        }
    }

    /// The type with its variables replaced; free ones become dynamic where `close` says so.
    pub fn substitute(&self, ty: &Type, close: bool) -> Type {
        if let Some(bound) = self.find(ty) {
            return self.substitute(bound, close);
        }
        match ty {
            Type::Param(_) if close => Type::Dyn,
            other => other.map_parameters(&mut |inner| self.substitute(inner, close)),
        }
    }
}

/// The one of two types that says less.
pub fn most_general<'t>(a: &'t Type, b: &'t Type) -> &'t Type {
    if less_specific(a, b) { a } else { b }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => less_specific(a, b),
        (Type::Map(ak, av), Type::Map(bk, bv)) => less_specific(ak, bk) && less_specific(av, bv),
        (Type::Meta(_), Type::Meta(_)) => true,
        (a, b) => a == b,
    }
}
