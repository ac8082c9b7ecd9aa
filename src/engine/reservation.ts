import type { Reservation, WorkReservation } from './engine.js';

/** The places as those see them who caption and score. */
export function reservationOf(places: WorkReservation): Reservation {
  return {
    model: places.model,
    async submit(item) {
      const { outcome, ...rest } = await places.handIn(item);
      if (!('candidates' in outcome)) throw new Error('an image to caption was answered with scores');
      return { outcome, ...rest };
    },
    async score(item) {
      const { outcome, ...rest } = await places.handIn(item);
      if (!('scores' in outcome)) throw new Error('an image to score was answered with a caption');
      return { outcome, ...rest };
    },
    release: () => {
      places.release();
    },
  };
}
