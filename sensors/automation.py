"""What starts by itself, and in which installation: `[night] automation` of its configuration.

Dagster starts what is "running by default" wherever definitions are loaded, a developer's laptop on the production
store included. So each schedule and sensor asks here:

    what                          automation = true (default)               automation = false
    schedule nightly              on                                        off
    schedule vocabularies_weekly  on where [vocabularies] skos has any      off
    schedule access_ENDPOINT_MODE on, for each of [metastore.*] schedules   off
    schedule reconcile_daily      on                                        off
    sensor night_watch            on                                        off
    sensor day_work               on                                        off

Both are defaults: the UI's switch wins over them, and is kept in Dagster's store, which a copy may share. Therefore
`harvester up` starts no daemon where automation is off: nothing is evaluated there, and no queued run is taken.
"""

import dagster as dg

from harvester_dagster.config import Config


def schedule(config: Config, wanted: bool = True) -> dg.DefaultScheduleStatus:
    """Whether a schedule is on by default; `wanted`: there is something for it to do."""
    return dg.DefaultScheduleStatus.RUNNING if config.night.automation and wanted else dg.DefaultScheduleStatus.STOPPED


def sensor(config: Config) -> dg.DefaultSensorStatus:
    """Whether a sensor is on by default."""
    return dg.DefaultSensorStatus.RUNNING if config.night.automation else dg.DefaultSensorStatus.STOPPED
