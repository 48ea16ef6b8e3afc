"""`makewhole crash`: a market crash replayed through the real engine.

A scenario says what happens outside: prices, oracle lag, depth, who is there and what they do. Everything
that happens inside is `engine.apply` answering commands: nothing here computes a balance, a margin or a
liquidation. The same seed gives the same bytes of output on every machine.

    scenario.py   what a scenario file may say; values.py: how one value is read
    curve.py      values over time, choices in whole numbers
    prices.py     prices outside, and what the oracle knows of them
    population.py who is there before it begins; makers.py: what rests on the books
    impact.py     what forced trades do to prices outside
    people.py     who sends money and who asks for it
    exchange.py   the engine's door, the chain beyond it and the invariants
    recorder.py   the story, folded from events alone
    replay.py     second by second; sweep.py: once per value of a parameter
    summary.py    a page in the terminal; report.py: a page in the browser
"""
