//! Calls: which function is meant, and which of its overloads take the arguments.

use super::Checker;
use crate::{
    library::{Overload, overloads},
    syntax::ast::{Expr, Id, Kind, Literal},
    types::Type,
};

impl Checker<'_> {
    pub(super) fn call(&mut self, e: &mut Expr) {
        let id = e.id;
        let Kind::Call { target, function, args } = &mut e.kind else { return };
        if function == "_?._" {
            let [operand, field] = args.as_mut_slice() else { return };
            let Kind::Literal(Literal::String(name)) = &field.kind else { return };
            let name = name.clone();
            self.set(field.id, Type::String);
            let ty = self.field(id, operand, &name, true);
            let ty = self.unifier.substitute(&ty, false);
            return self.set(id, ty);
        }
        args.iter_mut().for_each(|arg| self.check(arg));
        let plain = function.trim_start_matches('.').to_string();
        let Some(operand) = target else {
            *function = plain.as_str().into();
            let args: Vec<(Id, Type)> = args.iter().map(|arg| (arg.id, self.get(arg.id))).collect();
            return self.resolve(id, &plain, &args, false);
        };
        if let Some(prefix) = operand.qualified_name() {
            let qualified = format!("{}.{plain}", prefix.trim_start_matches('.'));
            if !self.candidates(&qualified).is_empty() {
                *function = qualified.as_str().into();
                *target = None;
                let args: Vec<(Id, Type)> = args.iter().map(|arg| (arg.id, self.get(arg.id))).collect();
                return self.resolve(id, &qualified, &args, false);
            }
        }
        self.check(operand);
        let mut all = vec![(operand.id, self.get(operand.id))];
        all.extend(args.iter().map(|arg| (arg.id, self.get(arg.id))));
        self.resolve(id, &plain, &all, true);
    }

    /// The overloads of a function in this environment.
    fn candidates(&self, function: &str) -> &'static [Overload] {
        if function == "jsonpatch.escapeKey" && !self.env.has_patch_types() {
            return &[];
        }
        overloads(function)
    }

    fn resolve(&mut self, id: Id, function: &str, args: &[(Id, Type)], method: bool) {
        let candidates = self.candidates(function);
        if candidates.is_empty() {
            return self.undeclared(id, function);
        }
        if matches!(function, "_&&_" | "_||_") {
            self.overloads[id as usize].extend(&candidates[..1]);
            let mut right = true;
            for (arg, ty) in args {
                if !self.unifier.assignable(ty, &Type::Bool) {
                    self.mismatch(*arg, &Type::Bool, ty);
                    right = false;
                }
            }
            return self.set(id, if right { Type::Bool } else { Type::Error });
        }
        let mut result: Option<Type> = None;
        for overload in candidates.iter().filter(|o| o.method == method && o.params.len() == args.len()) {
            let (params, returned) = self.instance(overload);
            if !self.unifier.assignable_all(args.iter().map(|(_, ty)| ty).zip(&params)) {
                continue;
            }
            self.overloads[id as usize].push(overload);
            let returned = self.unifier.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if before.is_dyn() || before == returned => before,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => self.set(id, ty),
            None => {
                let types: Vec<String> =
                    args.iter().map(|(_, ty)| self.unifier.substitute(ty, true).to_string()).collect();
                let signature = match types.split_first() {
                    Some((target, rest)) if method => format!("{target}.({})", rest.join(", ")),
                    _ => format!("({})", types.join(", ")),
                };
                self.fault(id, format!("found no matching overload for '{function}' applied to '{signature}'"));
            }
        }
    }

    /// The signature with type variables of its own.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut fresh: Vec<(u32, Type)> = Vec::new();
        let params = overload.params.iter().map(|ty| self.renamed(ty, &mut fresh)).collect();
        (params, self.renamed(&overload.result, &mut fresh))
    }
    fn renamed(&mut self, ty: &Type, fresh: &mut Vec<(u32, Type)>) -> Type {
        match ty {
            Type::Param(letter) => match fresh.iter().find(|(have, _)| have == letter) {
                Some((_, ty)) => ty.clone(),
                None => {
                    let new = self.unifier.fresh();
                    fresh.push((*letter, new.clone()));
                    new
                }
            },
            other => other.map_parameters(&mut |inner| self.renamed(inner, fresh)),
        }
    }
}
