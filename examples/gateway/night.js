/**
 * Reads hours such as "23:00-05:00", in local time, over midnight or not; "00:00-24:00" is always.
 * @returns whether a Date lies in them; the end does not.
 */
export function hours(text) {
  const match = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(text);
  const [from, to] = match ? [60 * match[1] + +match[2], 60 * match[3] + +match[4]] : [NaN, NaN];
  if (!(from < 1440 && to <= 1440 && match[2] < 60 && match[4] < 60))
    throw new Error(`"night" expected hours like "23:00-05:00", got "${text}"`);
  return (time) => {
    const minute = 60 * time.getHours() + time.getMinutes();
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
  };
}
