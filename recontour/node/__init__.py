"""The DICOM service on the hospital's network: scans and plans come in, contours go out (docs/node.md).

    config      NodeConfig: the TOML file
    tls         contexts for both directions
    audit       Audit: lines of JSON without identities
    listener    the port: bounded, with limits that the library lacks
    admission   who may come in, and for what
    receiving   C-ECHO, C-STORE, storage commitment: what is answered to peers
    sending     one association to a peer: C-ECHO, C-STORE, storage commitment
    delivering  what is due to peers, again and again until they have it
    service     Node: all of that around the queue
    check       whether a configuration would work

pynetdicom is imported here and nowhere else; config and check's callers do without it until they need it.
"""
