//! How many instances and functions a component has, together with the components nested in it.
//!
//! What is instantiated ten times counts ten times, and that multiplies with every layer: a few hundred bytes can make
//! millions of instances. The engine lays all of them out when it compiles and when it loads, in memory of ours that no
//! limit counts. So they are counted first.

use thiserror::Error;
use wasmparser::{ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Parser};

/// The most instances and functions of a component and all those in it. A guess: those that hold whole language engines
/// have two hundred.
const MOST_PARTS: u64 = 10_000;

/// How many components may lie around another one. A guess: tools make three or four.
const DEEPEST: usize = 100;

/// A component has too many instances and functions.
#[derive(Debug, Error)]
#[error("its components, instantiated by each other, come to more than {MOST_PARTS} instances and functions")]
pub(super) struct TooManyParts;

/// One of the components that are nested in each other, as far as it was read.
pub(super) struct Layer {
    pub(super) parser: Parser,
    /// How many instances and functions it has when it is instantiated.
    parts: u64,
    /// The same for each component that it can instantiate, by index.
    components: Vec<u64>,
}

impl Layer {
    pub(super) fn new(parser: Parser) -> Self {
        Self { parser, parts: 0, components: Vec::new() }
    }

    /// Goes on with a component nested in this one, and pushes this one to `around`.
    pub(super) fn enter(&mut self, parser: Parser, around: &mut Vec<Self>) -> Result<(), TooManyParts> {
        if around.len() == DEEPEST {
            return Err(TooManyParts);
        }
        around.push(std::mem::replace(self, Self::new(parser)));
        Ok(())
    }

    /// Goes on with the component around this one, which has ended. Returns whether there is one.
    pub(super) fn leave(&mut self, around: &mut Vec<Self>) -> Result<bool, TooManyParts> {
        let Some(outer) = around.pop() else { return Ok(false) };
        let inner = std::mem::replace(self, outer);
        self.hold(inner.parts)?;
        Ok(true)
    }

    /// Counts parts of its own.
    pub(super) fn add(&mut self, parts: u64) -> Result<(), TooManyParts> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts > MOST_PARTS { Err(TooManyParts) } else { Ok(()) }
    }

    /// Counts an instance, and all that comes with it.
    pub(super) fn instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), TooManyParts> {
        self.add(1)?;
        match instance {
            ComponentInstance::Instantiate { component_index, .. } => self.add(self.of(*component_index)),
            ComponentInstance::FromExports(_) => Ok(()),
        }
    }

    /// Notes another name for something that may be a component.
    pub(super) fn alias(&mut self, alias: &ComponentAlias<'_>, around: &[Self]) -> Result<(), TooManyParts> {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.given(*kind),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                let outer = match count.checked_sub(1) {
                    None => Some(&*self),
                    Some(further) => around.iter().rev().nth(further),
                };
                let parts = outer.map_or(0, |outer| outer.of(*index));
                self.hold(parts)
            }
            _ => Ok(()),
        }
    }

    /// Notes an export, which is another name for what is exported.
    pub(super) fn export(&mut self, kind: ComponentExternalKind, index: u32) -> Result<(), TooManyParts> {
        if kind == ComponentExternalKind::Component { self.hold(self.of(index)) } else { Ok(()) }
    }

    /// Notes an import. An imported component may be of any size, so instantiating it is refused; no tool makes such a
    /// component.
    pub(super) fn given(&mut self, kind: ComponentExternalKind) -> Result<(), TooManyParts> {
        if kind == ComponentExternalKind::Component { self.hold(u64::MAX) } else { Ok(()) }
    }

    /// Returns how many parts a component has; 0 for a wrong index, which the compiler refuses.
    fn of(&self, index: u32) -> u64 {
        let parts = usize::try_from(index).ok().and_then(|index| self.components.get(index));
        parts.copied().unwrap_or(0)
    }

    /// Notes a component that can be instantiated. It counts as a part, so that the list of them is bounded, too.
    fn hold(&mut self, parts: u64) -> Result<(), TooManyParts> {
        self.components.push(parts);
        self.add(1)
    }
}
