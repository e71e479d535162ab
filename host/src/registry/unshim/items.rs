//! A component as the list of what defines something in it, in its order.

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, Instance, Parser, Payload,
};

/// The custom section that names what a component consists of. It goes, for its indices would be wrong; no compiler reads it.
const NAMES: &str = "component-name";

/// Something that a component defines.
pub enum Item<'a> {
    /// A core module.
    Module(&'a [u8]),
    /// A core instance.
    Instance(Instance<'a>),
    /// An item of the component's or of a core instance's.
    Alias(ComponentAlias<'a>),
    /// A function of either kind.
    Function(CanonicalFunction),
    /// A section that has no index of a core item in it, nor defines one but core types.
    Other { id: u8, content: &'a [u8] },
}

/// Reads a component, but for what would have to be looked at more closely: core modules as values, a destructor of a
/// resource, and a start function.
pub fn read(component: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    // Modules and components inside it.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.ok()?;
        match &payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                if depth == 0 {
                    items.push(Item::Module(component.get(unchecked_range.clone())?));
                }
                depth += 1;
                continue;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    let alias = alias.ok()?;
                    if is_module(&alias) {
                        return None;
                    }
                    if depth == 0 {
                        items.push(Item::Alias(alias));
                    }
                }
                continue;
            }
            _ => {}
        }
        match payload {
            Payload::ComponentSection { ref unchecked_range, .. } if depth == 1 => {
                let (id, content) = (payload.as_section()?.0, component.get(unchecked_range.clone())?);
                items.push(Item::Other { id, content });
            }
            _ if depth > 0 => {}
            Payload::Version { .. } => {}
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    items.push(Item::Instance(instance.ok()?));
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    items.push(Item::Function(function.ok()?));
                }
            }
            Payload::CustomSection(ref section) if section.name() == NAMES => {}
            payload => {
                if !has_no_core_index(&payload)? {
                    return None;
                }
                let (id, range) = payload.as_section()?;
                items.push(Item::Other { id, content: component.get(range)? });
            }
        }
    }
    Some(items)
}

fn is_module(alias: &ComponentAlias<'_>) -> bool {
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Module,
        ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::CoreModule,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}

/// Whether a section can be copied. `None` where it is damaged.
fn has_no_core_index(payload: &Payload<'_>) -> Option<bool> {
    let module = ComponentExternalKind::Module;
    match payload {
        Payload::CoreTypeSection(_) | Payload::CustomSection(_) => {}
        Payload::ComponentTypeSection(types) => {
            for ty in types.clone() {
                if matches!(ty.ok()?, ComponentType::Resource { dtor: Some(_), .. }) {
                    return Some(false);
                }
            }
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports.clone() {
                if import.ok()?.ty.kind() == module {
                    return Some(false);
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports.clone() {
                if export.ok()?.kind == module {
                    return Some(false);
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances.clone() {
                let has_module = match instance.ok()? {
                    ComponentInstance::Instantiate { args, .. } => args.iter().any(|arg| arg.kind == module),
                    ComponentInstance::FromExports(exports) => exports.iter().any(|export| export.kind == module),
                };
                if has_module {
                    return Some(false);
                }
            }
        }
        _ => return Some(false),
    }
    Some(true)
}
