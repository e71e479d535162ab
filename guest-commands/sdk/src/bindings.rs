//! The world's bindings, generated from `wit/`. The rest of the crate wraps them, so that their shape is nobody
//! else's concern.

#![allow(unsafe_code)]
#![allow(clippy::undocumented_unsafe_blocks)]
#![allow(missing_docs)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "command",
    generate_all,
    pub_export_macro: true,
});
