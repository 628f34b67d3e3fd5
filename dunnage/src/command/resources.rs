use clap::Args;
use container_engine::{Bytes, Cpus, Resources};

/// Limits, as `run`, `create` and `update` take them.
#[derive(Debug, Args)]
pub(crate) struct ResourceArgs {
    /// Limit of memory, as 512m
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Limit of memory and swap together
    #[arg(long, value_name = "BYTES")]
    memory_swap: Option<Bytes>,
    /// Memory that is given back first
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<Bytes>,
    /// Limit of processors, as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Cpus>,
    /// Weight among others
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Which processors, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Which memory nodes
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit of processes
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

impl ResourceArgs {
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            oom_score_adj: None,
        }
    }
}
