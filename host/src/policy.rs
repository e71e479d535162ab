//! What a tenant allows and a command asks for: pure rules, without any I/O.
//!
//! An action takes two keys: a rule of the tenant and a rule of the command's sidecar must both allow it. Paths are
//! matched here by their spelling alone; whoever opens them has the kernel hold them to the roots that are named here.

mod access;
mod denial;
mod directories;
mod environment;
mod fit;
mod grants;
mod slots;
mod unmet;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use self::access::{Access, directory_of};
pub use self::denial::{Denial, Key, toml_string};
pub use self::directories::Preopen;
pub use self::fit::{Beneath, whole_number};
pub use self::grants::{Grants, ProcessGrant, Wishes};
pub use self::slots::{PassedAs, Slot};
pub use self::unmet::{InVain, Unmet};
pub use self::verdict::{Step, Verdict};

use self::denial::quoted;
use self::fit::{Misfit, PathArgument};

/// Arguments that a command's sidecar may have taken for paths where the tenant's grants have fewer.
const SIDECAR_PATHS: usize = 8;

/// What a command asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// Whatever the tenant allows: its sidecar does not say, or there is none.
    #[default]
    Everything,
    /// These at most.
    Only(Wishes),
}

/// What a command of a tenant may do: the tenant's grants ∩ what the command asks for.
#[derive(Debug, Clone)]
pub struct Effective {
    tenant: Arc<Grants>,
    asked: Asked,
    directories: Vec<Preopen>,
    environment: Vec<(String, String)>,
    in_vain: OnceLock<InVain>,
}

/// A program that may be spawned, once its paths have been found where they must lie.
#[derive(Debug, PartialEq, Eq)]
pub struct SpawnPlan {
    /// The arguments that name files.
    pub paths: Vec<PlannedPath>,
}

/// An argument that names a file.
#[derive(Debug, PartialEq, Eq)]
pub struct PlannedPath {
    /// Which argument, counted from 0 without the program's own name.
    pub index: usize,
    /// Where it must lie: the tenant's word, or the sidecar's, or both in this order.
    pub places: Vec<Beneath>,
    /// What the program gets for it.
    pub pass: PassedAs,
}

impl Effective {
    /// The grants of a tenant for a command that asks for `asked`.
    pub fn new(tenant: Arc<Grants>, asked: Asked) -> Effective {
        let wishes = asked.wishes();
        let directories = directories::effective(&tenant.directory, wishes.map(|wishes| &*wishes.directory));
        let environment = environment::effective(&tenant.environment, wishes.map(|wishes| &*wishes.environment));
        Effective { tenant, asked, directories, environment, in_vain: OnceLock::new() }
    }

    /// Whether they come from these of a tenant's.
    pub fn are_of(&self, tenant: &Arc<Grants>) -> bool {
        Arc::ptr_eq(&self.tenant, tenant)
    }

    /// The directories that the command finds open.
    pub fn directories(&self) -> &[Preopen] {
        &self.directories
    }

    /// The environment variables that the command finds.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Whether the program may be spawned with these arguments, given without the program's own name.
    ///
    /// # Errors
    /// When one of the two keys does not allow it.
    pub fn spawn(&self, program: &str, args: &[String]) -> Result<SpawnPlan, Denial> {
        let mut found: BTreeMap<usize, Vec<PathArgument>> = BTreeMap::new();
        let wishes = self.asked.wishes().map(|wishes| (Key::Sidecar, &*wishes.process));
        for (key, grants) in [(Key::Tenant, &*self.tenant.process)].into_iter().chain(wishes) {
            let fit =
                fit::spawn(grants, program, args).map_err(|unfit| key.denies_spawn(&unfit.misfit, program, args))?;
            fit.paths.into_iter().for_each(|path| found.entry(path.index).or_default().push(path));
        }
        let planned = |(index, keys): (usize, Vec<PathArgument>)| PlannedPath {
            index,
            pass: pass(&keys),
            places: keys.into_iter().map(|key| key.place).collect(),
        };
        let most = most_paths(&self.tenant.process);
        if found.len() > most {
            return Err(Key::Sidecar.denies_spawn(&Misfit::TooManyPaths(most), program, args));
        }
        Ok(SpawnPlan { paths: found.into_iter().map(planned).collect() })
    }

    /// Whether the file may be hashed, and where it lies.
    ///
    /// That is a place which the tenant allows, however narrow the sidecar's roots are: the way to a root may lead over
    /// symbolic links, which is for the operator to choose and not for a command's author. The sidecar's key is settled
    /// by spelling, for below the tenant's root no link is followed.
    ///
    /// # Errors
    /// When one of the two keys does not allow it.
    pub fn digest(&self, path: &str) -> Result<Beneath, Denial> {
        let find =
            |key: Key, roots: &[PathBuf]| fit::beneath(path, roots).map_err(|fault| key.denies_digest(fault, path));
        let place = find(Key::Tenant, &self.tenant.digest.read)?;
        if let Some(wishes) = self.asked.wishes() {
            find(Key::Sidecar, &wishes.digest.read)?;
        }
        Ok(place)
    }

    /// Whether the tenant's running commands may be stopped, or else seen.
    ///
    /// # Errors
    /// When one of the two keys does not allow it.
    pub fn tasks(&self, stop: bool) -> Result<(), Denial> {
        let wishes = self.asked.wishes().map(|wishes| (Key::Sidecar, wishes.tasks));
        let mut keys = [(Key::Tenant, self.tenant.tasks)].into_iter().chain(wishes);
        match keys.find(|(_, grant)| !grant.allows(stop)) {
            Some((key, _)) => Err(key.denies_tasks(stop)),
            None => Ok(()),
        }
    }

    /// Why `path` may not be changed in a directory that is open for reading alone.
    pub fn write_denial(&self, open: &Preopen, path: &Path) -> Denial {
        let key = if open.writable { Key::Sidecar } else { Key::Tenant };
        let why = format!("{} may not be changed in {}", quoted(&path.to_string_lossy()), quoted(&open.name));
        key.denies(why, open.access(true))
    }
}

impl Asked {
    /// What it comes down to, if it is not everything.
    fn wishes(&self) -> Option<&Wishes> {
        match self {
            Asked::Everything => None,
            Asked::Only(wishes) => Some(wishes),
        }
    }
}

/// The directories beneath which a tenant's programs get files, and how.
pub fn path_roots(grants: &Grants) -> impl Iterator<Item = (&Path, PassedAs)> {
    let slots = grants.process.iter().flat_map(|grant| &grant.args);
    let roots = slots.filter_map(|slot| match slot.one() {
        Slot::PathUnder { roots, pass } => Some((roots, pass.unwrap_or(PassedAs::Descriptor))),
        _ => None,
    });
    roots.flat_map(|(roots, pass)| roots.iter().map(move |root| (root.as_path(), pass)))
}

/// The paths that a tenant's programs get as they stand in its grants, `/d` or `--directory=/d`.
pub fn path_texts(grants: &Grants) -> impl Iterator<Item = &Path> {
    let slots = grants.process.iter().flat_map(|grant| &grant.args);
    let words = slots.flat_map(|slot| match slot.one() {
        Slot::Literal(word) => std::slice::from_ref(word),
        Slot::OneOf(words) => words.as_slice(),
        _ => &[],
    });
    let path = |word: &'_ String| word.find('/').filter(|at| *at == 0 || word[..*at].ends_with('='));
    words.filter_map(move |word| path(word).map(|at| Path::new(&word[at..])))
}

/// The most arguments of a program that are taken for paths: as many as the tenant's own grants have, or some that its
/// commands' sidecars have beyond them. The host has a descriptor open for each.
pub fn most_paths(grants: &[ProcessGrant]) -> usize {
    let args = grants.iter().map(ProcessGrant::most_args).max().unwrap_or(0);
    let of_tenant = grants.iter().map(ProcessGrant::most_paths).max().unwrap_or(0);
    of_tenant.max(args.min(SIDECAR_PATHS))
}

/// How the program gets a path. The tenant alone may choose the text, and either key may insist on the descriptor.
fn pass(keys: &[PathArgument]) -> PassedAs {
    let insists = keys.iter().any(|key| key.pass == Some(PassedAs::Descriptor));
    match keys.first().and_then(|tenant| tenant.pass) {
        Some(PassedAs::Text) if !insists => PassedAs::Text,
        _ => PassedAs::Descriptor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(tenant: &str, asked: Option<&str>) -> Effective {
        let asked = asked.map_or(Asked::Everything, |asked| Asked::Only(toml::from_str(asked).unwrap()));
        Effective::new(Arc::new(toml::from_str(tenant).unwrap()), asked)
    }

    fn spawn(effective: &Effective, program: &str, args: &[&str]) -> Result<SpawnPlan, Denial> {
        effective.spawn(program, &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    const TAIL: &str = "process = [{ program = '/usr/bin/tail', args = ['-n', { int = [1, 100] }, \
                        { path-under = ['/var/log'] }] }]";

    #[test]
    fn both_keys_are_needed() {
        let all = "process = [{ program = '/usr/bin/tail', args = ['-n', { any = true }, { any = true }] }]";
        let good = ["-n", "5", "/var/log/x"];
        assert!(spawn(&effective(TAIL, None), "/usr/bin/tail", &good).is_ok());
        assert!(spawn(&effective(TAIL, Some(all)), "/usr/bin/tail", &good).is_ok());
        let denial = spawn(&effective(TAIL, Some("")), "/usr/bin/tail", &good).unwrap_err();
        assert_eq!(denial.guest, "\"/usr/bin/tail\" is not asked for by this command");
        let denial = spawn(&effective("", Some(all)), "/usr/bin/tail", &good).unwrap_err();
        assert_eq!(denial.guest, "\"/usr/bin/tail\" is not granted");
        assert!(spawn(&effective(TAIL, Some(all)), "/usr/bin/tail", &["-n", "5", "/etc/passwd"]).is_err());
    }

    #[test]
    fn roots_of_both_keys_hold() {
        let narrow = "process = [{ program = '/usr/bin/tail', args = ['-n', '5', { path-under = ['/var/log/app'] }] }]";
        let plan = spawn(&effective(TAIL, Some(narrow)), "/usr/bin/tail", &["-n", "5", "/var/log/app/x"]).unwrap();
        let [path] = &*plan.paths else { panic!("{plan:?}") };
        let roots: Vec<_> = path.places.iter().map(|place| place.root.as_path()).collect();
        assert_eq!((path.index, &*roots), (2, &[Path::new("/var/log"), Path::new("/var/log/app")][..]));
    }

    #[test]
    fn the_tenant_alone_chooses_the_text() {
        let shape = |slot: &str| format!("process = [{{ program = '/p', args = [{slot}] }}]");
        let pass = |tenant: &str, sidecar: Option<&str>| {
            let effective = effective(&shape(tenant), sidecar.map(shape).as_deref());
            spawn(&effective, "/p", &["/a/x"]).unwrap().paths[0].pass
        };
        let (text, silent) = ("{ path-under = ['/a'], pass = 'text' }", "{ path-under = ['/a'] }");
        let descriptor = "{ path-under = ['/a'], pass = 'descriptor' }";
        assert_eq!(pass(silent, None), PassedAs::Descriptor);
        assert_eq!(pass(text, None), PassedAs::Text);
        assert_eq!(pass(text, Some(silent)), PassedAs::Text);
        assert_eq!(pass(text, Some(descriptor)), PassedAs::Descriptor);
        assert_eq!(pass(silent, Some(text)), PassedAs::Descriptor);
        assert_eq!(pass(descriptor, Some(text)), PassedAs::Descriptor);
        assert_eq!(pass(text, Some("{ any = true }")), PassedAs::Text);
        // The tenant allows any text here, and only the sidecar speaks of a path.
        assert_eq!(pass("{ any = true }", Some(text)), PassedAs::Text);
        assert_eq!(pass("{ any = true }", Some(silent)), PassedAs::Descriptor);
    }

    #[test]
    fn a_sidecar_makes_no_more_paths_than_there_is_room_for() {
        let many =
            |slot: &str| format!("process = [{{ program = '/p', args = [{{ repeat = {slot}, most = 1000 }}] }}]");
        let any = effective(&many("{ any = true }"), Some(&many("{ path-under = ['/a'] }")));
        assert_eq!(spawn(&any, "/p", &["/a/x"; SIDECAR_PATHS]).unwrap().paths.len(), SIDECAR_PATHS);
        let denial = spawn(&any, "/p", &["/a/x"; SIDECAR_PATHS + 1]).unwrap_err();
        assert_eq!(denial.guest, format!("\"/p\" takes no more than {SIDECAR_PATHS} paths here"));
        let paths = effective(&many("{ path-under = ['/a'] }"), None);
        assert_eq!(spawn(&paths, "/p", &["/a/x"; 1000]).unwrap().paths.len(), 1000);
        assert_eq!((most_paths(&paths.tenant.process), most_paths(&[])), (1000, 0));
        let few = effective("process = [{ program = '/p', args = ['-n', { any = true }] }]", None);
        assert_eq!(most_paths(&few.tenant.process), 2);
        let explained =
            any.explain(&Access::Process { program: "/p".into(), args: vec!["/a/x".into(); SIDECAR_PATHS + 1] });
        assert!(explained.iter().any(|verdict| verdict.denial.is_some()));
    }

    #[test]
    fn a_denial_says_what_did_not_fit_and_what_would() {
        let denial = spawn(&effective(TAIL, None), "/usr/bin/tail", &["-n", "500", "/var/log/x"]).unwrap_err();
        assert_eq!(denial.guest, "argument 2 of \"/usr/bin/tail\" is not a whole number from 1 to 100");
        let line = r#"the tenant would need: [[tenants.t.grants.process]] program = "/usr/bin/tail", args = ["-n", "500", "/var/log/x"]"#;
        assert!(denial.hint("t").ends_with(line), "{}", denial.hint("t"));
    }

    #[test]
    fn digests_take_two_keys_too() {
        let both = effective("digest.read = ['/etc', '/srv']", Some("digest.read = ['/etc/ssl', '/srv/..x']"));
        assert_eq!(both.digest("/etc/ssl/certs/x").unwrap().root, Path::new("/etc"));
        assert!(both.digest("/etc/hosts").unwrap_err().hint("t").contains("the command's sidecar would need"));
        assert!(
            both.digest("/usr/x")
                .unwrap_err()
                .hint("t")
                .contains(r#"the tenant would need: [tenants.t.grants.digest] read = ["/usr"]"#)
        );
        let wider = effective("digest.read = ['/etc/ssl']", Some("digest.read = ['/']"));
        assert_eq!(wider.digest("/etc/ssl/x").unwrap().root, Path::new("/etc/ssl"));
    }

    /// Were `/etc/ssl` a link to elsewhere, a sidecar that names it could otherwise lead the host out of `/etc`.
    #[test]
    fn a_sidecar_does_not_choose_where_the_way_down_begins() {
        let both = effective("digest.read = ['/etc']", Some("digest.read = ['/etc/ssl']"));
        let place = both.digest("/etc/ssl/certs/x").unwrap();
        assert_eq!((place.root.as_path(), place.relative.as_path()), (Path::new("/etc"), Path::new("ssl/certs/x")));
    }

    #[test]
    fn variables_take_two_keys_and_a_value_of_the_tenants() {
        let tenant = "environment = { LANG = 'C', SECRET = 'x' }";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(effective(tenant, None).environment(), [pair("LANG", "C"), pair("SECRET", "x")]);
        assert_eq!(effective(tenant, Some("environment = ['LANG', 'HOME']")).environment(), [pair("LANG", "C")]);
        assert_eq!(effective(tenant, Some("")).environment(), []);
        assert_eq!(effective("", Some("environment = ['PATH']")).environment(), []);
    }

    #[test]
    fn what_no_tenant_grants_is_unmet() {
        let asked = "environment = ['LANG', 'HOME']\ndirectory = [{ path = '/a' }, { path = '/b', write = true }]";
        let both = effective("environment.LANG = 'C'\ndirectory = [{ path = '/b' }]", Some(asked));
        let unmet = both.unmet();
        let unmet: Vec<String> = unmet.iter().map(|unmet| unmet.told("t")).collect();
        assert_eq!(unmet.len(), 3, "{unmet:?}");
        assert!(
            unmet[0].contains("the directory /a")
                && unmet[1].contains("[[tenants.t.grants.directory]]")
                && unmet[2].contains("\"HOME\"")
        );
        assert!(effective("environment.LANG = 'C'", None).unmet().is_empty());
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        let denial = spawn(&effective("", None), "/bin/\"\\\n\x1b[2J", &[]).unwrap_err();
        assert_eq!(denial.guest, r#""/bin/\"\\\u000a\u001b[2J" is not granted"#);
        let denial = spawn(&effective("", None), "ls", &[]).unwrap_err();
        assert_eq!(denial.hint("t"), "\"ls\" is not granted; no grant allows a path that is not absolute");
        let long = "é".repeat(1 << 20);
        for denial in [
            spawn(&effective("", None), &format!("/{long}"), &[&long]).unwrap_err(),
            effective("", None).digest(&format!("/{long}/x")).unwrap_err(),
        ] {
            assert!(denial.guest.len() < 1000 && denial.hint("t").len() < 1000, "{}", denial.hint("t").len());
            assert!(denial.hint("t").ends_with("it is the tenant that lacks the grant"), "{}", denial.hint("t"));
        }
    }

    #[test]
    fn what_is_proposed_would_do() {
        let args = ["-n", "say \"hi\"\n", r"c:\x", "é"];
        let denial = spawn(&effective("", None), "/bin/x", &args).unwrap_err();
        let hint = denial.hint("t");
        let (_, line) = hint.split_once("[[tenants.t.grants.process]] ").unwrap();
        let added = effective(&format!("process = [{{ {line} }}]"), None);
        assert!(spawn(&added, "/bin/x", &args).is_ok(), "{line}");
    }
}
