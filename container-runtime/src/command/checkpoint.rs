use super::Failure;

/// `checkpoint` and `restore`: what they would need, criu, is named if it is missing.
pub(crate) fn run(command: &str) -> Result<i32, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|directory| directory.join("criu").is_file());
    Err(Failure::usage(if installed {
        format!("{command} is not supported")
    } else {
        format!("{command} needs criu, which is not installed here")
    }))
}
