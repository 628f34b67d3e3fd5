use clap::Args;
use serde_json::json;

use crate::context::{Failure, print};
use crate::listing::ObjectFormat;

#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    format: ObjectFormat,
}

impl Version {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        if self.format.is_given() {
            // there is no server: client and engine are one program
            let half = json!({ "Version": version, "Os": "linux", "Arch": std::env::consts::ARCH });
            return self.format.print(&[json!({ "Client": half, "Server": half })]).map(|()| 0);
        }
        print(format_args!("dunnage {version} linux/{}", std::env::consts::ARCH))?;
        Ok(0)
    }
}
