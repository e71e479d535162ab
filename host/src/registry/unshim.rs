//! Leaves two of the three core modules of a usual component to be instantiated for a line.
//!
//! wit-component makes a component of three: the program, a *shim* that the program imports its functions from, each of which
//! jumps through a table, and a *fixup* that fills the table. For an import that passes strings needs the program's memory,
//! which is there only after the program, which needs its imports. An instance of each of the three is made for every line.
//!
//! Here the memory gets a module of its own, which goes first; the program imports it, and takes its imports as they are. What
//! the memory holds at first goes with it where it can, for the engine maps that only for a module's own memory. Nothing else
//! of the component changes: no index of a type, a function or an instance that are the component's, and no function of the
//! program. Where an import returns what has to be allocated, the allocator is still the program's, and is reached by a table
//! of one element.
//!
//! Only what is exactly of that form is rewritten ([`shape`]); everything else is compiled as its author wrote it.

mod items;
mod modules;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use wasmparser::Validator;

use super::metadata::Metadata;
use crate::engine::Size;
use modules::Program;
use shape::Shape;
use write::Writer;

/// The component without its shim, if it has one and gains by it.
///
/// A large component loses by it where its memory cannot take along what it holds at first, which would then be copied into
/// it for each line; that of a small one is copied quickly.
pub fn unshim(component: &[u8]) -> Option<Vec<u8>> {
    // What is left out of the result is not looked at by the compiler, so a component that is not valid must not get so far.
    Validator::new().validate_all(component).ok()?;
    let items = items::read(component)?;
    let shape = Shape::of(&items)?;
    let program = Program::read(shape.program_module)?;
    if Size::of(Metadata::of(component).initial_memory) == Size::Large && !program.has_known_contents() {
        return None;
    }
    let memory = program.memory(shape.realloc)?;
    Writer::new(&shape, &memory, program.importing(&memory, shape.start)?).write(&items)
}

fn at<T>(items: &[T], index: u32) -> Option<&T> {
    items.get(usize::try_from(index).ok()?)
}
