//! `doctor`: what this installation has, for a look at it and for reports of bugs.

use super::Status;
use crate::error::Failure;
use crate::output;
use std::process::Command;
use weightproof_report::features;

/// Prints one line for each thing.
pub fn run() -> Result<Status, Failure> {
    let has = |built: bool| if built { "yes" } else { "no, see CONTRIBUTING.md for builds with it" };
    let threads = std::thread::available_parallelism();
    let lines = [
        ("version", format!("weightproof {}", env!("CARGO_PKG_VERSION"))),
        ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("optimised", if cfg!(debug_assertions) { "no: a build for development" } else { "yes" }.into()),
        ("instructions", instructions()),
        ("threads", threads.map_or_else(|_| "unknown".into(), |n| n.to_string())),
        ("memory", memory().unwrap_or_else(|| "unknown".into())),
        ("parquet", has(features::parquet().is_ok()).into()),
        ("png", has(weightproof_figure::features::raster().is_ok()).into()),
        ("milp", has(cfg!(feature = "milp")).into()),
        ("python package", python()),
    ];
    output::write(None, |out| lines.iter().try_for_each(|(name, what)| writeln!(out, "{name:<14}  {what}")))?;
    Ok(Status::Holds)
}

/// The widest vector instructions that products are computed with here.
fn instructions() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        (
            "AVX2 with FMA",
            std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"),
        ),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [("NEON", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    found.into_iter().find(|(_, here)| *here).map_or("none known", |(name, _)| name).into()
}

/// Memory of the machine, and what of it is free, where the system tells.
fn memory() -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let gigabytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024.0 / 1e9)
    };
    Some(format!("{:.1} GB, {:.1} GB free", gigabytes("MemTotal:")?, gigabytes("MemAvailable:")?))
}

/// The package of the Python that `python3` starts, not one of the folder that this runs in.
fn python() -> String {
    let program =
        "import sys, weightproof; print(weightproof.__version__, \"for Python\", sys.version.split()[0])";
    match Command::new("python3").args(["-c", program]).current_dir("/").output() {
        Ok(found) if found.status.success() => String::from_utf8_lossy(&found.stdout).trim().into(),
        Ok(_) => "none: pip install . brings it".into(),
        Err(_) => "no python3 on the path".into(),
    }
}
