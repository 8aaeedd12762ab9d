"""Who vouched for which bytes: keys, DSSE envelopes, OMS bundles and the trust file."""
