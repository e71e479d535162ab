//! Tokens: what is kept of them, and whose they are.

use super::{check_refused, load};

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn tokens_are_kept_as_hashes() {
    let config =
        load(&format!("[tenants.x]\ncommands = ['c']\ntokens = [{{ name = 'ci', sha256 = '{HASH}' }}]")).unwrap();
    let token = &config.tenants["x"].tokens[0];
    assert_eq!(token.name, "ci");
    assert_eq!(token.sha256[..3], [0xba, 0x78, 0x16]);
}

#[test]
fn a_token_in_place_of_its_hash_is_refused_and_not_repeated() {
    for hash in ["wl_0123", &HASH[1..], &HASH.replace('a', "g")] {
        check_refused(
            &format!("[tenants.x]\ncommands = ['c']\ntokens = [{{ name = 'ci', sha256 = '{hash}' }}]"),
            "wasmline.toml:3:35: tenants.x.tokens.sha256: this is no SHA-256; \
             paste the 64 digits that `wasmline token` prints",
        );
    }
}

#[test]
fn a_token_shows_one_tenant() {
    let token = |name: &str| format!("{{ name = '{name}', sha256 = '{HASH}' }}");
    let (one, two) = (token("one"), token("two"));
    check_refused(
        &format!(
            "[tenants.default]\ncommands = ['c']\ntokens = [{one}]\n[tenants.y]\ncommands = ['c']\ntokens = [{two}]"
        ),
        "the tokens `one` of the tenant `default` and `two` of the tenant `y` are the same; make one anew",
    );
    check_refused(
        &format!("[tenants.x]\ncommands = ['c']\ntokens = [{one}, {one}]"),
        "wasmline.toml:3:106: two tokens of one tenant are called `one`",
    );
}
