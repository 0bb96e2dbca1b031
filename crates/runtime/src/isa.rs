//! Which of a bundle's programs runs on this device.

use mnx_artifact::Program;

use crate::error::RuntimeError;

macro_rules! detect {
    ($feature:expr; $($name:tt)*) => {
        match $feature {
            $($name => std::arch::is_x86_feature_detected!($name),)*
            _ => false,
        }
    };
}

/// Whether this CPU has a feature, by the names that `is_x86_feature_detected!` knows; unknown names are features it lacks.
#[cfg(target_arch = "x86_64")]
pub fn cpu_has(feature: &str) -> bool {
    detect!(feature; "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt"
        "movbe" "xsave" "fxsr" "cmpxchg16b" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512ifma" "avx512vbmi"
        "avx512vbmi2" "avx512vnni" "avx512bitalg" "avx512vpopcntdq" "avx512bf16" "avx512fp16" "avxvnni")
}

/// Not an x86-64 CPU: no feature that our programs name.
#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_has(_feature: &str) -> bool {
    false
}

/// The first program (they stand best first) that a device can run, or the one of target `wanted`.
///
/// `runs` says whether a target is of the device's kind at all, `has` whether it has a feature.
///
/// # Errors
/// `NoProgram` with what the bundle offers and what the device lacks.
pub fn pick(
    programs: &[Program],
    wanted: Option<&str>,
    runs: &dyn Fn(&str) -> bool,
    has: &dyn Fn(&str) -> bool,
) -> Result<usize, RuntimeError> {
    let lacks = |p: &Program| -> Vec<String> { p.requires.iter().filter(|f| !has(f)).cloned().collect() };
    if let Some(target) = wanted {
        let Some(index) = programs.iter().position(|p| p.target == target) else {
            let offered: Vec<&str> = programs.iter().map(|p| p.target.as_str()).collect();
            return Err(RuntimeError::NoProgram(format!("the bundle has no code for {target}; it has {}", offered.join(", "))));
        };
        if !runs(target) {
            return Err(RuntimeError::NoProgram(format!("code for {target} does not run on this device")));
        }
        let missing = lacks(&programs[index]);
        if !missing.is_empty() {
            return Err(RuntimeError::NoProgram(format!("code for {target} needs {}, which this CPU lacks", missing.join(", "))));
        }
        return Ok(index);
    }
    let reason = |p: &Program| {
        if runs(&p.target) {
            format!("{} needs {}, which this CPU lacks", p.target, lacks(p).join(", "))
        } else {
            format!("{} is for another kind of device", p.target)
        }
    };
    if let Some(index) = programs.iter().position(|p| runs(&p.target) && lacks(p).is_empty()) {
        for (i, p) in programs.iter().enumerate().filter(|(i, _)| *i != index) {
            let why = if i < index { reason(p) } else { format!("{} comes after {}", p.target, programs[index].target) };
            tracing::debug!("code not taken: {why}");
        }
        return Ok(index);
    }
    let reasons: Vec<String> = programs.iter().map(reason).collect();
    Err(RuntimeError::NoProgram(format!("no code in the bundle runs here: {}; compile it for this machine", reasons.join("; "))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(target: &str, requires: &[&str]) -> Program {
        Program {
            target: target.into(),
            requires: requires.iter().map(|&r| r.into()).collect(),
            arena_bytes: 0,
            scratch_bytes: 0,
            inputs: vec![],
            outputs: vec![],
            commands: vec![],
            precision: "f32".into(),
            gpu: None,
        }
    }

    fn offered() -> Vec<Program> {
        vec![program("sm_90a", &[]), program("x86-64-v4", &["avx512f", "avx512bw", "avx2"]), program("x86-64-v3", &["avx2", "fma"])]
    }

    fn host(target: &str) -> bool {
        target.starts_with("x86-64")
    }

    #[test]
    fn the_best_program_that_the_cpu_can_run_is_taken() {
        let p = offered();
        assert_eq!(pick(&p, None, &host, &|_| true).unwrap(), 1);
        assert_eq!(pick(&p, None, &host, &|f| !f.starts_with("avx512")).unwrap(), 2);
        assert_eq!(pick(&p, Some("x86-64-v3"), &host, &|_| true).unwrap(), 2);
    }

    #[test]
    fn refusals_say_what_the_cpu_lacks() {
        let p = offered();
        let old = |f: &str| f == "avx2";
        let err = pick(&p, None, &host, &old).unwrap_err().to_string();
        assert!(err.contains("x86-64-v4 needs avx512f, avx512bw") && err.contains("x86-64-v3 needs fma"), "{err}");
        let err = pick(&p, Some("x86-64-v4"), &host, &old).unwrap_err().to_string();
        assert_eq!(err, "code for x86-64-v4 needs avx512f, avx512bw, which this CPU lacks");
        let err = pick(&p, Some("x86-64-v5"), &host, &old).unwrap_err().to_string();
        assert!(err.contains("no code for x86-64-v5; it has sm_90a, x86-64-v4, x86-64-v3"), "{err}");
        let err = pick(&p, Some("sm_90a"), &host, &old).unwrap_err().to_string();
        assert!(err.contains("does not run on this device"), "{err}");
        assert!(pick(&[], None, &host, &old).is_err());
    }

    #[test]
    fn unknown_features_are_features_the_cpu_lacks() {
        assert!(!cpu_has("avx9000"));
        #[cfg(target_arch = "x86_64")]
        assert!(cpu_has("sse2"));
    }
}
