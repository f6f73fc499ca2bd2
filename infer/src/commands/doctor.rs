//! `infer doctor`

use std::path::{Path, PathBuf};

use clap::Args;
use infer::speed::{self, Speed};
use infer::{runtime, signature};
use support::{Result, bail, print_line};

#[derive(Args)]
pub struct DoctorArgs {
    /// Measure every stage of a slide with this model for about a minute, and report the slowest stage
    #[arg(long, value_name = "MODEL")]
    speed: Option<PathBuf>,
    /// Demand a signature of the model by this public key [default: trusted.pub beside the program, if it is there]
    #[arg(long, value_name = "FILE", requires = "speed")]
    key: Option<PathBuf>,
}

pub fn run(args: &DoctorArgs) -> Result<()> {
    let mut missing = 0;
    for finding in runtime::doctor() {
        match &finding.state {
            Ok(state) => print_line!("ok       {}: {state}", finding.what),
            Err(error) => {
                let mark = if finding.optional { "optional" } else { "missing " };
                print_line!("{mark} {}: {error}", finding.what);
                error.hint_text().inspect(|hint| print_line!("         {hint}"));
                missing += usize::from(!finding.optional);
            }
        }
    }
    if missing > 0 {
        bail!("{missing} required components are missing");
    }
    args.speed.as_deref().map_or(Ok(()), |model| measure_speed(model, args.key.as_deref()))
}

fn measure_speed(path: &Path, key: Option<&Path>) -> Result<()> {
    let (model, _) = signature::open(path, key)?;
    let speeds = speed::measure(&model, speed::SIDE, speed::MIN_DURATION)?;
    print_line!("\nmegapixels per second on a synthetic slide, {}, each stage by itself:", path.display());
    let lines = speeds.stages.iter().map(|speed| ("", speed)).chain(speeds.devices.iter().map(|speed| ("network, ", speed)));
    for (kind, Speed { what, rate }) in lines {
        match rate {
            Ok(rate) => print_line!("{rate:9.2} {kind}{what}"),
            Err(error) => {
                print_line!("        - {kind}{what}: {error}");
                error.hint_text().inspect(|hint| print_line!("          {hint}"));
            }
        }
    }
    if let (Some(limit), Some(device)) = (speeds.limit(), speeds.best_device()) {
        print_line!("limit: {}; the fastest device is {1}: infer segment MODEL SLIDE -o OUT --device {1}", limit.what, device.what);
    }
    Ok(())
}
