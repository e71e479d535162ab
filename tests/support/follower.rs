//! A child that runs until it is killed: `tail -f` on a file of the test's own.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::builder::{HostBuilder, quoted};
use super::machine;

/// The file that is followed. Its path is in the child's command line, which tells it from all other processes.
pub struct Follower {
    pub file: PathBuf,
}

impl Follower {
    /// Grants the tenant to follow a file whose only line is `first`, so that a client sees when the child runs.
    #[track_caller]
    pub fn granted(builder: HostBuilder) -> (HostBuilder, Follower) {
        let follower = Follower { file: builder.file("followed", "first\n") };
        (builder.more(&follower.grant("default")), follower)
    }

    /// The grant that allows a tenant to follow the file.
    pub fn grant(&self, tenant: &str) -> String {
        let args = format!("[\"-f\", {}]", quoted(&self.file));
        format!("[[tenants.{tenant}.grants.process]]\nprogram = \"/usr/bin/tail\"\nargs = {args}")
    }

    /// The request that has the fixture start the child.
    pub fn request(&self, fixture: &str) -> String {
        format!("{fixture} {}", self.command_line())
    }

    /// Has every child print more.
    #[track_caller]
    pub fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(&self.file).expect("the file is there");
        file.write_all(text.as_bytes()).expect("the file can be written");
    }

    /// The children that run now.
    pub fn processes(&self) -> Vec<u32> {
        machine::processes_with(&self.command_line())
    }

    fn command_line(&self) -> String {
        format!("/usr/bin/tail -f {}", self.file.display())
    }
}
