// Icons, drawn by this page: no font and no file is loaded for them.

const PATHS = {
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M13 5v4M7 15v4",
  copy: "M9 9h10v10H9zM5 15V5h10",
  retry: "M4 12a8 8 0 1 1 2.5 5.8M4 20v-5h5",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12",
  wire: "M4 8h11l-3-3M20 16H9l3 3",
  down: "M12 5v14M6 13l6 6 6-6",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM16 16l4 4",
  key: "M12.6 11.4L20 4M17 7l2.5 2.5M8.5 11a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z",
  chat: "M5 6h14v10H10l-4 3v-3H5z",
  columns: "M5 5h6v14H5zM13 5h6v14h-6z",
  chart: "M5 19V9M12 19V5M19 19v-7",
  leave: "M14 5H6v14h8M11 12h9M17 9l3 3-3 3",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" />
      <path d="M7 12c3-3 6-3 9 0s6 3 9 0M7 20c3-3 6-3 9 0s6 3 9 0" />
    </svg>
  );
}
