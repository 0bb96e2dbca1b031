//! What this process has used, what the machine has, and how much of it this process may have.

use std::fmt;
use std::path::{Path, PathBuf};

/// Peak resident memory of this process in bytes (`VmHWM` of /proc/self/status), where the system tells.
pub fn peak_bytes() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Physical memory of the machine in bytes (`MemTotal` of /proc/meminfo), where the system tells.
pub fn physical_bytes() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemTotal:")
}

/// Who bounds the memory of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// What is built in.
    Machine,
    /// A control group: a container, a batch system's job.
    Group,
    /// The limit on the address space (`ulimit -v`).
    AddressSpace,
}

/// The most memory that this process can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How much.
    pub bytes: u64,
    /// Whose word it is.
    pub bound: Bound,
}

impl fmt::Display for Bound {
    /// The subject of a sentence that goes on with `has` or `leaves`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "this machine has",
            Self::Group => "the control group of this process (its container or batch job) has",
            Self::AddressSpace => "the limit on this process (ulimit -v) is",
        })
    }
}

impl Limit {
    /// Why `bytes` cannot be had, if they are beyond the limit: both sizes.
    pub fn refusal(&self, bytes: u64) -> Option<String> {
        (bytes > self.bytes).then(|| format!("{} of memory needed, {} {}", shown(bytes), self.bound, shown(self.bytes)))
    }
}

/// Bytes with a binary unit: `1.50 GiB`.
fn shown(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", units[unit])
}

/// The least of what the machine has, what this process's control groups may use and what its address space may be, where the system tells.
pub fn limit() -> Option<Limit> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(&groups, &|path| std::fs::read_to_string(path).ok());
    let space = std::fs::read_to_string("/proc/self/limits").ok().and_then(|text| address_space(&text));
    let of = |bytes: Option<u64>, bound| bytes.map(|bytes| Limit { bytes, bound });
    [of(physical_bytes(), Bound::Machine), of(group, Bound::Group), of(space, Bound::AddressSpace)]
        .into_iter()
        .flatten()
        .min_by_key(|limit| limit.bytes)
}

/// The least limit of the groups that /proc/self/cgroup names and of all above them: version 2 (`memory.max`) and version 1.
fn group_limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // Within a container the path may be the host's and not be there; the root is the container's own group then.
        let inside = PathBuf::from(root).join(path.trim_start_matches('/'));
        for folder in inside.ancestors().take_while(|folder| folder.starts_with(root)) {
            // "max" is no number: no limit.
            let bytes = read(&folder.join(file)).and_then(|text| text.trim().parse::<u64>().ok());
            least = [least, bytes].into_iter().flatten().min();
        }
    }
    least
}

/// The soft limit on the address space in the text of /proc/self/limits.
fn address_space(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max address space"))?.split_whitespace().next()?.parse().ok()
}

fn kilobytes(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_covers_what_was_touched() {
        let before = peak_bytes().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = peak_bytes().unwrap();
        assert!(after >= before && after >= block.len() as u64);
        assert!(physical_bytes().unwrap() > after);
        assert!(limit().unwrap().bytes > after && limit().unwrap().bytes <= physical_bytes().unwrap());
    }

    #[test]
    fn the_tightest_group_counts() {
        let files = |pairs: &'static [(&'static str, &'static str)]| {
            move |path: &Path| pairs.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        };
        let two = files(&[
            ("/sys/fs/cgroup/job/step/memory.max", "max\n"),
            ("/sys/fs/cgroup/job/memory.max", "125829120\n"),
            ("/sys/fs/cgroup/memory.max", "999999999999\n"),
        ]);
        assert_eq!(group_limit("0::/job/step\n", &two), Some(125_829_120));
        assert_eq!(group_limit("0::/elsewhere/not/here\n", &two), Some(999_999_999_999));
        let one = files(&[
            ("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory.max", "1\n"),
        ]);
        assert_eq!(group_limit("3:cpu,cpuacct:/x\n5:memory:/job\n", &one), Some(4096));
        assert_eq!(group_limit("0::/\n", &files(&[("/sys/fs/cgroup/memory.max", "max")])), None);
        assert_eq!(group_limit("nonsense\n:::\n0::\n", &files(&[])), None);
        // No way out of the hierarchy.
        assert_eq!(group_limit("0::/../../etc\n", &files(&[("/sys/fs/memory.max", "1"), ("/etc/memory.max", "1")])), None);
    }

    #[test]
    fn a_refusal_names_both_sizes() {
        let limit = |bound| Limit { bytes: 3 << 29, bound };
        assert_eq!(limit(Bound::Machine).refusal(3 << 29), None);
        let said = limit(Bound::Machine).refusal(5 << 40).unwrap();
        assert_eq!(said, "5.00 TiB of memory needed, this machine has 1.50 GiB");
        assert!(limit(Bound::Group).refusal(u64::MAX).unwrap().starts_with("16.00 EiB of memory needed, the control group"));
        assert!(limit(Bound::AddressSpace).refusal(2 << 30).unwrap().ends_with("(ulimit -v) is 1.50 GiB"));
    }

    #[test]
    fn the_address_space_is_the_soft_limit() {
        let text = |soft: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax cpu time  unlimited unlimited seconds\nMax address space {soft} 99 bytes\n")
        };
        assert_eq!(address_space(&text("20480000")), Some(20_480_000));
        assert_eq!(address_space(&text("unlimited")), None);
        assert_eq!(address_space(""), None);
    }
}
