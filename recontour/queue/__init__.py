"""What was received, safely on disk; which series are whole; which plan a daily scan has; what is run and delivered.

    spool      Spool.keep: one received object -> on disk for good, once;  Spool.held
    arrivals   settle: which series have arrived whole
    matching   match: complete daily scans -> their plans -> jobs; appoint: a scan that is to be a plan
    jobs       Jobs: what is to be run and delivered, and what became of it
    worker     run_next: one job in a child process of its own (child); RunOptions
    retention  remove_old: what is done with, after some days
    status     status: plain rows of all that, without identities
    folder     a watched folder: its files into the same spool, results into another folder;  watching: its service
    owner      which process works on what, told by locked files

One round of whoever serves the queue:

    jobs.recover(now)                          once, at the start
    settle(spool, now, quiet_s); match(jobs, now)
    run_next(jobs, settings, options)          until it returns False
    for delivery in jobs.due(now): ...; jobs.sent(delivery.id) or jobs.failed(delivery.id, message, now)

All state is in one SQLite file (database), so that what belongs together changes together. `jobs.due(now)` claims what
it returns: each is to be answered with `sent` or `failed`.
"""
