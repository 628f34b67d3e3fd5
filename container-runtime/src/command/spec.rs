use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{Args, Context, Failure};

/// `spec [-b BUNDLE]`: writes a `config.json` to begin with.
pub(crate) fn run(_: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut bundle = PathBuf::from(".");
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "b" | "bundle" => bundle = args.path()?,
            _ => return args.unknown(),
        }
    }
    args.end()?;
    let mut spec = Spec::default();
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
    }
    if let Some(linux) = spec.linux_mut()
        && let Some(namespaces) = linux.namespaces_mut()
        && !namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Cgroup)
    {
        let mut namespace = oci_spec::runtime::LinuxNamespace::default();
        namespace.set_typ(LinuxNamespaceType::Cgroup);
        namespaces.push(namespace);
    }
    let path = bundle.join("config.json");
    let text = serde_json::to_string_pretty(&spec).map_err(|error| Failure::usage(error.to_string()))?;
    let mut file = File::create_new(&path).map_err(Failure::io(&format!("create {}", path.display())))?;
    writeln!(file, "{text}").map_err(Failure::io(&format!("write {}", path.display())))?;
    Ok(0)
}
