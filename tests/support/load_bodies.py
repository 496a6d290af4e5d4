"""What a load would send."""

import orjson

from workbench.load.bodies import BodyMaker
from workbench.load.preflight import usual_dialect
from workbench.load.process import sending_job


def first_bodies(spec):
    """The body of each request that a spec plans, as JSON."""
    job = sending_job(spec, usual_dialect(spec))
    maker = BodyMaker(job.recipe, job.schedule)
    return [orjson.loads(maker.first(i)) for i in range(len(job.schedule.input_tokens))]
