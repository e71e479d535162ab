//! How much a tenant's commands may use, `[tenants.NAME.limits]`.

use std::time::Duration;

use serde::Deserialize;

use super::units::{self, Share};

/// How much a tenant's commands may use: the first part of one invocation, the second of the tenant's all together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct Limits {
    /// Bytes in all linear memories and tables of one invocation, added up.
    #[serde(deserialize_with = "units::bytes")]
    pub memory: usize,
    /// CPU time of one invocation: guest, host calls, hash jobs, file operations and children together.
    #[serde(deserialize_with = "units::duration")]
    pub cpu: Duration,
    /// Time that one invocation may take: guest, host calls and children together.
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    /// Bytes that one invocation may write to its client.
    #[serde(deserialize_with = "units::bytes")]
    pub output: u64,
    /// Component handles of one invocation.
    #[serde(deserialize_with = "units::count")]
    pub handles: usize,
    /// Bytes that one invocation may hand to the host in one call.
    #[serde(deserialize_with = "units::bytes")]
    pub host_call_memory: usize,
    /// Child processes that one invocation may have at once.
    #[serde(deserialize_with = "units::count")]
    pub children_per_line: usize,
    /// Bytes of the longest file that is hashed.
    #[serde(deserialize_with = "units::bytes")]
    pub digest_size: u64,

    /// Connections at once. Without it, all where the tenant is the only one, else half of them.
    #[serde(deserialize_with = "units::some_count")]
    pub connections: Option<usize>,
    /// Invocations at once.
    #[serde(deserialize_with = "units::count")]
    pub concurrency: usize,
    /// Lines that may wait for their turn at `concurrency`. With 0 no line waits.
    #[serde(deserialize_with = "units::count_or_zero")]
    pub queue: usize,
    /// Child processes at once.
    #[serde(deserialize_with = "units::count")]
    pub children: usize,
    /// Instances that are kept for their connections' next lines. Without it, all where the tenant is the only one, else
    /// half of them.
    #[serde(deserialize_with = "units::some_count")]
    pub kept_instances: Option<usize>,
    /// Bytes in all memories and tables of the invocations that run. Without it, the tenant's share of the host's.
    #[serde(deserialize_with = "units::some_bytes")]
    pub memory_in_use: Option<usize>,
    /// Lines that are run in a second, on average. Without it, as many as come.
    #[serde(deserialize_with = "units::some_count")]
    pub lines_per_second: Option<usize>,
    /// CPU seconds per second. Without it, all that the others leave.
    pub cpu_share: Option<Share>,
    /// Files hashed at once. Without it, all jobs where the tenant is the only one, else half of them.
    #[serde(deserialize_with = "units::some_count")]
    pub hash_jobs: Option<usize>,
    /// File operations of WASI programs at once. Without it, as for `hash-jobs`.
    #[serde(deserialize_with = "units::some_count")]
    pub file_jobs: Option<usize>,
    /// Commands compiled at once. Without it, as for `hash-jobs`.
    #[serde(deserialize_with = "units::some_count")]
    pub compile_jobs: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            cpu: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            output: 1 << 20,
            handles: 1000,
            host_call_memory: 1 << 20,
            children_per_line: 4,
            digest_size: 16 << 30,
            connections: None,
            concurrency: 64,
            queue: 64,
            children: 16,
            kept_instances: None,
            memory_in_use: None,
            lines_per_second: None,
            cpu_share: None,
            hash_jobs: None,
            file_jobs: None,
            compile_jobs: None,
        }
    }
}
