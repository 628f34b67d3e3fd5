use clap::{Args, Subcommand};

use crate::context::{Failure, Roots, print};
use crate::human::plain;

#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Say what is inconsistent, half done or left over
    Check(Check),
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Mend it
    #[arg(long)]
    repair: bool,
}

impl System {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let Self::Check(check) = self;
        let engine = roots.engine().await?;
        let findings = engine.check(check.repair).await?;
        for finding in &findings {
            let prefix = if check.repair { "mended: " } else { "" };
            print(format!("{prefix}{}", plain(&finding.to_string())))?;
        }
        if findings.is_empty() {
            print("clean")?;
        }
        Ok(u8::from(!findings.is_empty() && !check.repair))
    }
}
