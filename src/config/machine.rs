//! Memory and cores of the machine, within the limits of control groups.
//!
//! The limit of a control group holds for all groups below it, so every group from that of the process up to the root
//! is read, in version 2 (`memory.max`, `cpu.max`) and version 1 (`memory.limit_in_bytes`, `cpu.cfs_quota_us`) of the
//! interface. In a container the path of the group may not exist; then the mounted root has the limit. A file that
//! cannot be read sets no limit.

use std::{
    fmt, fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

/// Memory and cores of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the process.
    pub memory: Memory,
    /// Cores of the process.
    pub cores: Cores,
}

/// Memory that a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Number of bytes; `None` if unknown.
    pub bytes: Option<u64>,
    /// Control group file with the limit; `None` if all memory of the machine may be used.
    pub limit: Option<PathBuf>,
}

/// Cores that a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Number of cores, at least one.
    pub count: usize,
    /// Control group file with the quota; `None` if only the processor affinity of the process limits it.
    pub quota: Option<PathBuf>,
}

/// Paths of the system's files.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Memory of the machine (`/proc/meminfo`).
    meminfo: PathBuf,
    /// Control groups of the process (`/proc/self/cgroup`).
    groups: PathBuf,
    /// Mount point of control groups (`/sys/fs/cgroup`).
    mounted: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { meminfo: "/proc/meminfo".into(), groups: "/proc/self/cgroup".into(), mounted: "/sys/fs/cgroup".into() }
    }
}

impl Machine {
    /// The machine of this process.
    pub fn here() -> Self {
        Self::read(&Paths::default(), thread::available_parallelism().map_or(1, NonZero::get))
    }

    /// The machine described by these files, with `processors` for the process.
    pub(super) fn read(paths: &Paths, processors: usize) -> Self {
        let all = fs::read_to_string(&paths.meminfo).ok().and_then(|text| mem_total(&text));
        let limit = smallest(paths.directories("memory"), memory_limit);
        let memory = match (all, limit) {
            (Some(all), Some((limit, file))) if limit < all => Memory { bytes: Some(limit), limit: Some(file) },
            // Version 1 writes a huge number for no limit: without the machine's memory to compare with, a limit is
            // ignored.
            (all, _) => Memory { bytes: all, limit: None },
        };
        let quota = smallest(paths.directories("cpu"), cpu_quota);
        let cores = match quota {
            Some((quota, file)) if quota < processors => Cores { count: quota, quota: Some(file) },
            _ => Cores { count: processors.max(1), quota: None },
        };
        Self { memory, cores }
    }
}

impl Paths {
    /// Directories of the process's control groups and of all groups above, for a controller.
    fn directories(&self, controller: &str) -> Vec<PathBuf> {
        let groups = fs::read_to_string(&self.groups).unwrap_or_default();
        let mut directories = Vec::new();
        for line in groups.lines() {
            // hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers (cgroups(7)).
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let roots = match controllers {
                "" => vec![self.mounted.clone(), self.mounted.join("unified")],
                names if names.split(',').any(|name| name == controller) => {
                    vec![self.mounted.join(controller), self.mounted.join(names)]
                }
                _ => continue,
            };
            let group = Path::new(group.trim_start_matches('/'));
            directories.extend(roots.iter().flat_map(|root| group.ancestors().map(|above| root.join(above))));
        }
        directories
    }
}

/// Smallest limit in these directories, with its file.
fn smallest<T: Ord>(directories: Vec<PathBuf>, read: fn(&Path) -> Option<(T, PathBuf)>) -> Option<(T, PathBuf)> {
    directories.iter().filter_map(|directory| read(directory)).min_by(|(one, _), (other, _)| one.cmp(other))
}

fn memory_limit(directory: &Path) -> Option<(u64, PathBuf)> {
    ["memory.max", "memory.limit_in_bytes"].into_iter().find_map(|name| {
        let file = directory.join(name);
        // `max` is no number, and no limit.
        Some((fs::read_to_string(&file).ok()?.trim().parse().ok()?, file))
    })
}

fn cpu_quota(directory: &Path) -> Option<(usize, PathBuf)> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if let Some(text) = read("cpu.max") {
        let (quota, period) = text.trim().split_once(' ')?;
        return Some((whole_cores(number(quota)?, number(period)?)?, directory.join("cpu.max")));
    }
    // -1 does not parse as unsigned, and is no limit.
    let quota = number(&read("cpu.cfs_quota_us")?)?;
    Some((whole_cores(quota, number(&read("cpu.cfs_period_us")?)?)?, directory.join("cpu.cfs_quota_us")))
}

/// Whole cores of a quota, rounded down: one more thread would only be throttled.
fn whole_cores(quota_us: u64, period_us: u64) -> Option<usize> {
    usize::try_from(quota_us.checked_div(period_us)?.max(1)).ok()
}

/// Memory in bytes from the line `MemTotal:  24683656 kB`.
fn mem_total(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, &self.limit) {
            (None, _) => f.write_str("a memory of unknown size"),
            (Some(bytes), None) => write!(f, "{} MiB of the machine", bytes >> 20),
            (Some(bytes), Some(file)) => write!(f, "the limit of {} MiB in {}", bytes >> 20, file.display()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.count == 1 { "core" } else { "cores" };
        write!(f, "{} {cores}", self.count)?;
        self.quota.iter().try_for_each(|file| write!(f, ", the quota in {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 8 GiB, 8 processors and these files.
    fn machine(files: &[(&str, &str)]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        let meminfo = [("meminfo", "MemFree: 1 kB\nMemTotal:        8388608 kB\n")];
        for (name, text) in meminfo.iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let at = |name: &str| root.path().join(name);
        let paths = Paths { meminfo: at("meminfo"), groups: at("cgroup"), mounted: at("sys") };
        let mut machine = Machine::read(&paths, 8);
        for file in [&mut machine.memory.limit, &mut machine.cores.quota].into_iter().flatten() {
            *file = file.strip_prefix(root.path()).unwrap().into();
        }
        machine
    }

    #[test]
    fn limits_of_control_groups() {
        let unlimited = (8_192, 8, None, None);
        type Files = &'static [(&'static str, &'static str)];
        type Found = (u64, usize, Option<&'static str>, Option<&'static str>);
        let table: [(Files, Found); 9] = [
            (&[], unlimited),
            (&[("cgroup", "0::/\n"), ("sys/memory.max", "max\n"), ("sys/cpu.max", "max 100000\n")], unlimited),
            // Version 2, with a limit of the group and a smaller one above it.
            (
                &[
                    ("cgroup", "0::/system.slice/touchmark.service\n"),
                    ("sys/system.slice/memory.max", "1073741824\n"),
                    ("sys/system.slice/touchmark.service/memory.max", "2147483648\n"),
                    ("sys/system.slice/touchmark.service/cpu.max", "250000 100000\n"),
                ],
                (1_024, 2, Some("sys/system.slice/memory.max"), Some("sys/system.slice/touchmark.service/cpu.max")),
            ),
            // A container that sees its own group as the root.
            (
                &[("cgroup", "0::/\n"), ("sys/memory.max", "536870912"), ("sys/cpu.max", "50000 100000")],
                (512, 1, Some("sys/memory.max"), Some("sys/cpu.max")),
            ),
            // Version 1, whose path leads nowhere in the container.
            (
                &[
                    ("cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n"),
                    ("sys/memory/memory.limit_in_bytes", "268435456\n"),
                    ("sys/cpu,cpuacct/cpu.cfs_quota_us", "300000\n"),
                    ("sys/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ],
                (256, 3, Some("sys/memory/memory.limit_in_bytes"), Some("sys/cpu,cpuacct/cpu.cfs_quota_us")),
            ),
            // Version 1 without limits.
            (
                &[
                    ("cgroup", "4:memory:/\n1:cpu:/\n"),
                    ("sys/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("sys/cpu/cpu.cfs_quota_us", "-1\n"),
                    ("sys/cpu/cpu.cfs_period_us", "100000\n"),
                ],
                unlimited,
            ),
            // Both versions side by side.
            (
                &[("cgroup", "4:memory:/a\n0::/a\n"), ("sys/unified/a/memory.max", "4194304")],
                (4, 8, Some("sys/unified/a/memory.max"), None),
            ),
            (&[("cgroup", "nonsense\n0::\n4:memory\n"), ("sys/memory.max", "x"), ("sys/cpu.max", "1 0")], unlimited),
            // Neither more memory nor more cores than there are.
            (&[("cgroup", "0::/"), ("sys/memory.max", "99999999999"), ("sys/cpu.max", "1600000 100000")], unlimited),
        ];
        for (files, (mebibytes, cores, limit, quota)) in table {
            let expected = Machine {
                memory: Memory { bytes: Some(mebibytes << 20), limit: limit.map(PathBuf::from) },
                cores: Cores { count: cores, quota: quota.map(PathBuf::from) },
            };
            assert_eq!(machine(files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_machine_that_says_nothing() {
        let nowhere = || PathBuf::from("/nowhere");
        let machine = Machine::read(&Paths { meminfo: nowhere(), groups: nowhere(), mounted: nowhere() }, 0);
        assert_eq!((machine.memory.bytes, machine.cores.count), (None, 1));
        assert!(Machine::here().cores.count >= 1);
    }
}
