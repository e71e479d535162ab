//! Variables: the tenant's alone, and by name where the sidecar asks.

use super::Program;
use crate::support::HostBuilder;

#[test]
fn variables_are_the_tenants() {
    let builder = HostBuilder::new().fixture("wasi-files").env("SECRET_OF_THE_HOST", "hidden");
    let grant = "[tenants.default.grants.environment]\nLANG = \"C.UTF-8\"\nGREETING = \"two words\"\n";
    let host = builder.more(grant).start();
    assert_eq!(Program::of(&host).line("variables"), "GREETING=two words\nLANG=C.UTF-8");
}

#[test]
fn a_sidecar_asks_for_variables_by_name() {
    let grant = "[tenants.default.grants.environment]\nLANG = \"C.UTF-8\"\nGREETING = \"two words\"\n";
    for (sidecar, found) in
        [("[grants]\nenvironment = [\"LANG\", \"SECRET_OF_THE_HOST\", \"HOME\"]\n", "LANG=C.UTF-8"), ("[grants]\n", "")]
    {
        let builder = HostBuilder::new().fixture("wasi-files").env("SECRET_OF_THE_HOST", "hidden").more(grant);
        let host = builder.sidecar("wasi-files", sidecar).start();
        assert_eq!(Program::of(&host).line("variables"), found);
    }
}
