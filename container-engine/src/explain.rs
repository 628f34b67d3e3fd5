use crate::{Engine, Error};

impl Engine {
    /// What starting a container does, step by step and in order, without doing it: networks, rules, mounts, what is
    /// dropped and what is filtered. For a container that runs: what its start has done.
    pub async fn explain(&self, text: &str) -> Result<String, Error> {
        let row = self.find_row(text)?;
        let _lock = self.lock_container(&row.id)?;
        let running = self.is_running(&row.id)?;
        if !running {
            self.prepare(&row)?;
        }
        let explained = self.explain_prepared(&row);
        if !running {
            // what was leased to be able to say it is given back
            self.release_leases(&row.id)?;
        }
        explained
    }

    fn explain_prepared(&self, row: &crate::database::ContainerRow) -> Result<String, Error> {
        let mut text = String::new();
        for attachment in self.orders(row)?.networks {
            let network = &attachment.network;
            push_indented(
                &mut text,
                &format!("network {}, once", network.name),
                &container_net::explain_network(network),
            );
            push_indented(
                &mut text,
                &format!("network {}, this container", network.name),
                &container_net::explain(&attachment),
            );
        }
        push_indented(&mut text, "process", &self.runtime.explain(&self.container_run(&row.id))?);
        Ok(text)
    }
}

fn push_indented(text: &mut String, title: &str, lines: &str) {
    text.push_str(title);
    text.push_str(":\n");
    for line in lines.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
}
