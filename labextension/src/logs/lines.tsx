import type { TranslationBundle } from '@jupyterlab/translation';
import { useVirtualizer } from '@tanstack/react-virtual';
import * as React from 'react';

import type { ShownLine } from './buffer';
import { type Shown, parts } from './search';

// In pixels: what a line is taken for until it is drawn.
const LINE_HEIGHT = 17;
const OVERSCAN = 20;
// So near to the end counts as at the end.
const NEAR = 8;

/** The lines of a log: only those that can be seen are in the page. */
export function LogLines(props: {
  shown: Shown;
  query: string;
  /** The number of the line that was searched for. */
  current: number | null;
  /** How many of the first lines are not kept any more. */
  dropped: number;
  isWrapped: boolean;
  isFollowed: boolean;
  onFollowed: (isFollowed: boolean) => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { shown, query, current, dropped, isWrapped, isFollowed, trans } =
    props;
  const { lines } = shown;
  const { onFollowed } = props;
  const scroller = React.useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_HEIGHT,
    getItemKey: index => lines[index]?.number ?? index,
    overscan: OVERSCAN
  });

  // Lines are as high as they were only as long as they are wrapped alike.
  React.useEffect(() => virtualizer.measure(), [isWrapped, virtualizer]);

  React.useLayoutEffect(() => {
    if (isFollowed && lines.length > 0) {
      virtualizer.scrollToIndex(lines.length - 1, { align: 'end' });
    }
  }, [isFollowed, lines, isWrapped, virtualizer]);

  // The end stays in view in a smaller window, too.
  React.useEffect(() => {
    const element = scroller.current;
    if (!isFollowed || !element) {
      return;
    }
    const resizes = new ResizeObserver(() => {
      element.scrollTop = element.scrollHeight;
    });
    resizes.observe(element);
    return () => resizes.disconnect();
  }, [isFollowed]);

  // What is read stays where it is while lines before it go.
  const before = React.useRef(dropped);
  React.useLayoutEffect(() => {
    const gone = dropped - before.current;
    before.current = dropped;
    if (!isFollowed && gone > 0 && scroller.current) {
      scroller.current.scrollTop -= gone * LINE_HEIGHT;
    }
  }, [dropped, isFollowed]);

  const at = current === null ? -1 : indexOf(lines, current);
  React.useEffect(() => {
    if (at >= 0) {
      virtualizer.scrollToIndex(at, { align: 'center' });
    }
    // Only when another one is searched for, not when lines come.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [current]);

  // Who scrolls up wants to read; who comes to the end wants to follow.
  const top = React.useRef(0);
  const onScroll = (event: React.UIEvent<HTMLDivElement>): void => {
    const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
    const isUp = scrollTop < top.current - 1;
    top.current = scrollTop;
    if (scrollHeight - scrollTop - clientHeight <= NEAR) {
      onFollowed(true);
    } else if (isUp) {
      onFollowed(false);
    }
  };

  return (
    <div
      ref={scroller}
      className="gra-Logs-lines"
      data-wrapped={isWrapped}
      role="log"
      aria-live="off"
      aria-label={trans.__('Lines of the log')}
      tabIndex={0}
      onScroll={onScroll}
    >
      <div style={{ height: virtualizer.getTotalSize(), position: 'relative' }}>
        {virtualizer.getVirtualItems().map(item => {
          const line = lines[item.index];
          return (
            line && (
              <div
                key={item.key}
                ref={virtualizer.measureElement}
                data-index={item.index}
                className="gra-Logs-line"
                data-current={line.number === current}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <Line line={line} query={query} />
              </div>
            )
          );
        })}
      </div>
    </div>
  );
}

const Line = React.memo(function Line(props: {
  line: ShownLine;
  query: string;
}): React.JSX.Element {
  const { line, query } = props;
  return (
    <>
      <span className="gra-Logs-time">{clock(line.time)}</span>
      <span className="gra-Logs-source" data-source={line.source}>
        {line.source}
      </span>
      <span className="gra-Logs-text">
        {parts(line.text, query).map(({ text, isMatch }, index) =>
          isMatch ? <mark key={index}>{text}</mark> : text
        )}
      </span>
    </>
  );
});

/** The index of the line of a number: numbers grow. */
function indexOf(lines: readonly ShownLine[], number: number): number {
  return lines.findIndex(line => line.number === number);
}

/** The time of a line as the user's clock has it: `14:03:05.123`. */
function clock(time: number | null): string {
  if (time === null) {
    return '';
  }
  const date = new Date(time * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const milliseconds = String(date.getMilliseconds()).padStart(3, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}
